package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(m member, ctx context.Context) error {
	revoked := func(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			tell("ERROR", err)
		}
		tellPartitions("REVOKED", partitions[m.topic])
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(m.bootstrap),
		kgo.ConsumerGroup(m.group),
		kgo.ConsumeTopics(m.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(session),
		kgo.HeartbeatInterval(heartbeat),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			tellPartitions("ASSIGNED", partitions[m.topic])
		}),
		kgo.OnPartitionsRevoked(revoked),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			tellPartitions("REVOKED", partitions[m.topic])
		}),
	}
	if m.protocol == "consumer" {
		// How this version is told to use the protocol of KIP-848.
		options = append(options, kgo.WithContext(context.WithValue(
			context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			tell("RECORD", record.Partition, record.Offset)
		})
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	return nil
}
