import java.io.IOException;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member of a consumer group; speaks the member part of ../PROTOCOL.md. Offsets are committed by
 * hand: of all that was consumed, before partitions are given up and at the end.
 */
public final class Member {
    private Member() {
    }

    public static void main(String[] args) throws IOException {
        String topic = args[3];
        try (var consumer = new KafkaConsumer<>(
                settings(args[1], args[2], args[4]), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    consumer.commitSync();
                    tell("REVOKED", numbers(partitions));
                }

                @Override
                public void onPartitionsLost(Collection<TopicPartition> partitions) {
                    tell("REVOKED", numbers(partitions));
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    tell("ASSIGNED", numbers(partitions));
                }
            });
            while (System.in.available() == 0) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                    tell("RECORD", record.partition() + "\t" + record.offset());
                }
            }
        } catch (RuntimeException failure) {
            tell("ERROR", failure.toString());
            throw failure;
        }
        tell("CLOSED", "");
    }

    private static Properties settings(String bootstrap, String group, String protocol) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("group.protocol", protocol);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        if (protocol.equals("classic")) {
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "200");
            settings.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        }
        return settings;
    }

    private static void tell(String event, String fields) {
        System.out.println(event + "\t" + System.currentTimeMillis() + "\t" + fields);
    }

    private static String numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(each -> Integer.toString(each.partition())).collect(Collectors.joining(","));
    }
}
