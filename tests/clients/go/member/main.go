// A member of a consumer group on a Go client; speaks the member part of ../../PROTOCOL.md.
//
//	member CLIENT BOOTSTRAP GROUP TOPIC GROUP_PROTOCOL
//
// Offsets are committed by hand: of all that was consumed, before partitions are given up and at
// the end.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	session   = 6 * time.Second
	heartbeat = 200 * time.Millisecond
)

type member struct{ bootstrap, group, topic, protocol string }

func main() {
	m := member{os.Args[2], os.Args[3], os.Args[4], os.Args[5]}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		stop()
	}()
	run := map[string]func(member, context.Context) error{"franz-go": franz, "sarama": saramaMember}[os.Args[1]]
	if err := run(m, ctx); err != nil {
		tell("ERROR", err)
		os.Exit(1)
	}
	tell("CLOSED")
}

var telling sync.Mutex

func tell(event string, fields ...any) {
	telling.Lock()
	defer telling.Unlock()
	fmt.Printf("%s\t%d", event, time.Now().UnixMilli())
	for _, field := range fields {
		fmt.Printf("\t%v", field)
	}
	fmt.Println()
}

func tellPartitions(event string, partitions []int32) {
	words := make([]string, len(partitions))
	for i, partition := range partitions {
		words[i] = fmt.Sprint(partition)
	}
	tell(event, strings.Join(words, ","))
}
