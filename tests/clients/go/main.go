// A driver around franz-go that speaks ../PROTOCOL.md. Every request makes its own client, so
// that no state of one check reaches the next.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	deadline        = 60 * time.Second
	maxRequestBytes = 32 << 20
)

type driver struct {
	seed string
	in   *bufio.Reader
	out  *bufio.Writer
}

func main() {
	d := driver{os.Args[1], bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriterSize(os.Stdout, 1<<20)}
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return
		}
		lines, err := d.serve(strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		if err != nil {
			fmt.Fprintf(d.out, "ERR\t%s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Fprintf(d.out, "OK\t%d\n", len(lines))
			for _, l := range lines {
				d.out.WriteString(l)
				d.out.WriteByte('\n')
			}
		}
		d.out.Flush()
	}
}

func (d *driver) serve(words []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	switch words[0] {
	case "VERSION":
		return []string{version()}, nil
	case "PRODUCE":
		return d.produce(ctx, words[1:])
	case "CONSUME":
		return d.consume(ctx, words[1:])
	case "BYTIME":
		offset, err := d.listOffset(ctx, words[1], number(words[2]), number(words[3]))
		return []string{fmt.Sprint(offset)}, err
	case "ENDS":
		start, err := d.listOffset(ctx, words[1], number(words[2]), -2)
		if err != nil {
			return nil, err
		}
		end, err := d.listOffset(ctx, words[1], number(words[2]), -1)
		return []string{fmt.Sprint(start), fmt.Sprint(end)}, err
	}
	return nil, fmt.Errorf("unknown request %q", words[0])
}

func (d *driver) produce(ctx context.Context, words []string) ([]string, error) {
	topic, partition, count := words[0], number(words[1]), number(words[5])
	records := make([]*kgo.Record, 0, 16)
	for range count {
		record, err := d.readRecord()
		if err != nil {
			return nil, err
		}
		record.Topic, record.Partition = topic, int32(partition)
		records = append(records, record)
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(d.seed),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(maxRequestBytes),
		kgo.ProducerBatchCompression(codec(words[2])),
		kgo.RequiredAcks(acks(words[3])),
		kgo.RecordRetries(5),
		kgo.AllowAutoTopicCreation(),
	}
	if words[4] == "0" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]string, len(records))
	for i, record := range records {
		offsets[i] = fmt.Sprint(record.Offset)
		if words[3] == "0" {
			offsets[i] = "-1"
		}
	}
	return offsets, nil
}

func (d *driver) consume(ctx context.Context, words []string) ([]string, error) {
	topic, partition, count := words[0], int32(number(words[1])), int(number(words[3]))
	client, err := kgo.NewClient(
		kgo.SeedBrokers(d.seed),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			topic: {partition: kgo.NewOffset().At(number(words[2]))},
		}),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	lines := make([]string, 0, 16)
	for len(lines) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for _, record := range fetches.Records() {
			lines = append(lines, writeRecord(record))
		}
	}
	return lines[:count], nil
}

// listOffset asks for a timestamp; -1 and -2 are the log end and the log start.
func (d *driver) listOffset(ctx context.Context, topic string, partition, timestamp int64) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(d.seed))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	one := kmsg.NewListOffsetsRequestTopicPartition()
	one.Partition, one.Timestamp = int32(partition), timestamp
	asked.Partitions = append(asked.Partitions, one)
	request.Topics = append(request.Topics, asked)
	for _, shard := range client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return 0, shard.Err
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, partition := range topic.Partitions {
				if partition.ErrorCode != 0 {
					return 0, fmt.Errorf("error code %d", partition.ErrorCode)
				}
				return partition.Offset, nil
			}
		}
	}
	return 0, fmt.Errorf("no answer")
}

func (d *driver) readRecord() (*kgo.Record, error) {
	line, err := d.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	record := &kgo.Record{Timestamp: time.UnixMilli(number(fields[0])), Key: decode(fields[1]), Value: decode(fields[2])}
	if fields[3] != "" {
		for _, header := range strings.Split(fields[3], ",") {
			name, value, _ := strings.Cut(header, "=")
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: decode(value)})
		}
	}
	return record, nil
}

func writeRecord(record *kgo.Record) string {
	headers := make([]string, len(record.Headers))
	for i, header := range record.Headers {
		headers[i] = header.Key + "=" + encode(header.Value)
	}
	return fmt.Sprintf("%d\t%d\t%s\t%s\t%s", record.Offset, record.Timestamp.UnixMilli(),
		encode(record.Key), encode(record.Value), strings.Join(headers, ","))
}

func encode(bytes []byte) string {
	if bytes == nil {
		return "-"
	}
	return base64.StdEncoding.EncodeToString(bytes)
}

func decode(field string) []byte {
	if field == "-" {
		return nil
	}
	bytes, err := base64.StdEncoding.DecodeString(field)
	if err != nil {
		panic(err)
	}
	return bytes
}

func number(field string) int64 {
	value, err := strconv.ParseInt(field, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func codec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

func acks(name string) kgo.Acks {
	return map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}[name]
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return module.Version
		}
	}
	return "unknown"
}
