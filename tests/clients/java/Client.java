import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** A driver around Kafka's Java clients that speaks ../PROTOCOL.md, one client per request. */
public final class Client {
    private static final long DEADLINE_MS = 60_000;
    private static final int MAX_REQUEST_BYTES = 32 << 20;

    private final String bootstrap;
    private final BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20);
    private final BufferedWriter out =
        new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 20);

    private Client(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws IOException {
        new Client(args[0]).run();
    }

    private void run() throws IOException {
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                List<String> lines = serve(line.split("\t", -1));
                out.write("OK\t" + lines.size() + "\n");
                for (String reply : lines) {
                    out.write(reply);
                    out.write('\n');
                }
            } catch (Exception failure) {
                Throwable cause = failure.getCause() == null ? failure : failure.getCause();
                out.write("ERR\t" + String.valueOf(cause).replace('\n', ' ') + "\n");
            }
            out.flush();
        }
    }

    private List<String> serve(String[] words) throws Exception {
        switch (words[0]) {
            case "VERSION":
                return List.of(AppInfoParser.getVersion());
            case "PRODUCE":
                return produce(words);
            case "CONSUME":
                return consume(partition(words), Long.parseLong(words[3]), Integer.parseInt(words[4]));
            case "BYTIME":
                return byTime(partition(words), Long.parseLong(words[3]));
            case "ENDS":
                return ends(partition(words));
            default:
                throw new IllegalArgumentException("unknown request " + words[0]);
        }
    }

    private List<String> produce(String[] words) throws Exception {
        Properties settings = settings();
        settings.put("compression.type", words[3]);
        settings.put("acks", words[4]);
        settings.put("enable.idempotence", words[5].equals("1"));
        settings.put("max.request.size", MAX_REQUEST_BYTES);
        settings.put("buffer.memory", 3L * MAX_REQUEST_BYTES);
        settings.put("linger.ms", 50);
        settings.put("delivery.timeout.ms", (int) DEADLINE_MS);
        settings.put("request.timeout.ms", (int) DEADLINE_MS / 2);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(words[6]); i++) {
            records.add(readRecord(partition(words)));
        }
        List<String> offsets = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) {
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> each : sent) {
                offsets.add(Long.toString(each.get().offset()));
            }
        }
        return offsets;
    }

    private List<String> consume(TopicPartition partition, long offset, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, offset);
            List<String> lines = new ArrayList<>();
            long deadline = System.currentTimeMillis() + DEADLINE_MS;
            while (lines.size() < count) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException(lines.size() + " of " + count + " records by the deadline");
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    lines.add(writeRecord(record));
                }
            }
            return lines.subList(0, count);
        }
    }

    private List<String> byTime(TopicPartition partition, long timestamp) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(partition, timestamp));
            OffsetAndTimestamp offset = found.get(partition);
            return List.of(offset == null ? "-1" : Long.toString(offset.offset()));
        }
    }

    private List<String> ends(TopicPartition partition) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            return List.of(
                consumer.beginningOffsets(List.of(partition)).get(partition).toString(),
                consumer.endOffsets(List.of(partition)).get(partition).toString());
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Properties settings = settings();
        settings.put("auto.offset.reset", "none");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        return settings;
    }

    private ProducerRecord<byte[], byte[]> readRecord(TopicPartition to) throws IOException {
        String[] fields = in.readLine().split("\t", -1);
        Headers headers = new RecordHeaders();
        if (!fields[3].isEmpty()) {
            for (String header : fields[3].split(",", -1)) {
                int name = header.indexOf('=');
                headers.add(header.substring(0, name), decode(header.substring(name + 1)));
            }
        }
        return new ProducerRecord<>(
            to.topic(), to.partition(), Long.parseLong(fields[0]), decode(fields[1]), decode(fields[2]), headers);
    }

    private static String writeRecord(ConsumerRecord<byte[], byte[]> record) {
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(header.key() + "=" + encode(header.value()));
        }
        return String.join("\t", Arrays.asList(
            Long.toString(record.offset()), Long.toString(record.timestamp()),
            encode(record.key()), encode(record.value()), String.join(",", headers)));
    }

    private static TopicPartition partition(String[] words) {
        return new TopicPartition(words[1], Integer.parseInt(words[2]));
    }

    private static String encode(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] decode(String field) {
        return field.equals("-") ? null : Base64.getDecoder().decode(field);
    }
}
