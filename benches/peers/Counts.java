import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Counts of ten minutes, every ten seconds, per subject, from the same observations as Bellwether's monitor, exactly once, in Kafka Streams.
 * Usage: Counts BROKERS TOPIC OUTPUT RECORDS THREADS STATE_FOLDER. Prints one line of JSON: records a second of wall and of CPU time, from
 * the first record to the last.
 */
public final class Counts {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final AtomicLong SEEN = new AtomicLong();
    private static volatile long startedAt;
    private static volatile long cpuAtStart;

    /** Items, negative ones, and the sum of scores. */
    record Sums(long count, long negative, double score) {}

    record Item(long time, boolean negative, double score) {}

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        long records = Long.parseLong(arguments[3]);
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2] + "-streams");
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(arguments[4]));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[5]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put("auto.offset.reset", "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(topic, Consumed.with(Serdes.String(), serde(Counts::itemBytes, Counts::item))
                        .withTimestampExtractor((record, previous) -> Math.max(previous, ((Item) record.value()).time())))
                .peek((subject, item) -> seen())
                .filter((subject, item) -> !subject.startsWith("watermark:"))
                .groupByKey(Grouped.with(Serdes.String(), serde(Counts::itemBytes, Counts::itemFrom)))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(10), Duration.ofSeconds(5)).advanceBy(Duration.ofSeconds(10)))
                .aggregate(() -> new Sums(0, 0, 0),
                        (subject, item, sums) -> new Sums(sums.count() + 1, sums.negative() + (item.negative() ? 1 : 0), sums.score() + item.score()),
                        Materialized.<String, Sums, WindowStore<Bytes, byte[]>>as("windows")
                                .withKeySerde(Serdes.String()).withValueSerde(serde(Counts::sumsBytes, Counts::sumsFrom)))
                .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
                .toStream((window, sums) -> window.key())
                .mapValues(sums -> "{\"count\":" + sums.count() + ",\"negative\":" + sums.negative() + ",\"score\":" + sums.score() + "}")
                .to(arguments[2], Produced.with(Serdes.String(), Serdes.String()));

        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings)) {
            streams.start();
            while (SEEN.get() < records) {
                if (streams.state() == KafkaStreams.State.ERROR) {
                    throw new IllegalStateException("Kafka Streams has failed");
                }
                Thread.sleep(5);
            }
            double seconds = (System.nanoTime() - startedAt) / 1e9;
            double cpu = (cpu() - cpuAtStart) / 1e9;
            System.out.printf("{\"records_per_second\": %.1f, \"records_per_cpu_second\": %.1f}%n", SEEN.get() / seconds, SEEN.get() / cpu);
            System.out.flush();
            Runtime.getRuntime().halt(0);
        }
    }

    private static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    private static void seen() {
        if (SEEN.getAndIncrement() == 0) {
            cpuAtStart = cpu();
            startedAt = System.nanoTime();
        }
    }

    private static Item item(byte[] record) {
        try {
            JsonNode fields = JSON.readTree(record);
            return new Item(fields.path("event_time_ms").asLong(0), "negative".equals(fields.path("sentiment").asText()), fields.path("score").asDouble());
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    private static byte[] itemBytes(Item item) {
        return ByteBuffer.allocate(17).putLong(item.time()).put((byte) (item.negative() ? 1 : 0)).putDouble(item.score()).array();
    }

    private static Item itemFrom(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        return new Item(buffer.getLong(), buffer.get() != 0, buffer.getDouble());
    }

    private static byte[] sumsBytes(Sums sums) {
        return ByteBuffer.allocate(24).putLong(sums.count()).putLong(sums.negative()).putDouble(sums.score()).array();
    }

    private static Sums sumsFrom(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        return new Sums(buffer.getLong(), buffer.getLong(), buffer.getDouble());
    }

    private static <T> Serde<T> serde(java.util.function.Function<T, byte[]> write, java.util.function.Function<byte[], T> read) {
        Serializer<T> serializer = (topic, value) -> value == null ? null : write.apply(value);
        Deserializer<T> deserializer = (topic, bytes) -> bytes == null ? null : read.apply(bytes);
        return Serdes.serdeFrom(serializer, deserializer);
    }
}
