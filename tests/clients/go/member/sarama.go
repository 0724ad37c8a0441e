package main

import (
	"context"

	"github.com/IBM/sarama"
)

type handler struct{ topic string }

func (h handler) Setup(session sarama.ConsumerGroupSession) error {
	tellPartitions("ASSIGNED", session.Claims()[h.topic])
	return nil
}

func (h handler) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	tellPartitions("REVOKED", session.Claims()[h.topic])
	return nil
}

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		tell("RECORD", message.Partition, message.Offset)
		session.MarkMessage(message, "")
	}
	return nil
}

func saramaMember(m member, ctx context.Context) error {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = session
	config.Consumer.Group.Heartbeat.Interval = heartbeat
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	group, err := sarama.NewConsumerGroup([]string{m.bootstrap}, m.group, config)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{m.topic}, handler{m.topic}); err != nil {
			return err
		}
	}
	return group.Close()
}
