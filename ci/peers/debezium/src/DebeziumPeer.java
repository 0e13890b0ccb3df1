import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.File;
import java.io.FileOutputStream;
import java.io.ObjectOutputStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Debezium's embedded engine from the start of a binlog into one Kafka topic, acks=all, JSON without schemas. It ends when
 * so many changes are acknowledged, and says what it did as one line of JSON.
 *
 * Arguments: mysql host, mysql port, user, password, bootstrap servers, topic, database.table, changes, binlog file, GTIDs
 * before it, work folder. "snapshot" in place of the binlog file takes the table's rows instead.
 */
public class DebeziumPeer {
  static final long DEADLINE_S = 900;

  public static void main(String[] args) throws Exception {
    String topic = args[5], table = args[6], folder = args[10];
    long wanted = Long.parseLong(args[7]);
    new File(folder).mkdirs();
    File offsets = new File(folder, "offsets.dat");
    boolean isSnapshot = args[8].equals("snapshot");
    if (!isSnapshot) writeOffset(offsets, args[8], args[9]);

    Properties engine = new Properties();
    engine.setProperty("name", "bench");
    engine.setProperty("connector.class", "io.debezium.connector.mysql.MySqlConnector");
    engine.setProperty("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore");
    engine.setProperty("offset.storage.file.filename", offsets.getPath());
    engine.setProperty("offset.flush.interval.ms", "60000");
    engine.setProperty("schema.history.internal", "io.debezium.storage.file.history.FileSchemaHistory");
    engine.setProperty("schema.history.internal.file.filename", new File(folder, "history.dat").getPath());
    engine.setProperty("database.hostname", args[0]);
    engine.setProperty("database.port", args[1]);
    engine.setProperty("database.user", args[2]);
    engine.setProperty("database.password", args[3]);
    engine.setProperty("database.server.id", "5400");
    engine.setProperty("topic.prefix", "debezium");
    engine.setProperty("table.include.list", table);
    // With an offset made by hand: the schema of now, the rows from the binlog's start.
    engine.setProperty("snapshot.mode", isSnapshot ? "initial" : "recovery");
    engine.setProperty("snapshot.locking.mode", "none");
    engine.setProperty("value.converter.schemas.enable", "false");
    engine.setProperty("key.converter.schemas.enable", "false");
    engine.setProperty("converter.schemas.enable", "false");

    Properties kafka = new Properties();
    kafka.setProperty("bootstrap.servers", args[4]);
    kafka.setProperty("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    kafka.setProperty("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    kafka.setProperty("acks", "all");
    kafka.setProperty("linger.ms", "5");
    kafka.setProperty("compression.type", "lz4");
    KafkaProducer<String, String> producer = new KafkaProducer<>(kafka);

    AtomicLong changes = new AtomicLong(), bytes = new AtomicLong(), firstAt = new AtomicLong();
    CountDownLatch done = new CountDownLatch(1);
    DebeziumEngine<ChangeEvent<String, String>> debezium = DebeziumEngine.create(Json.class)
        .using(engine)
        .using((success, message, error) -> {
          if (error != null) error.printStackTrace();
          if (!success) System.err.println(message);
          done.countDown();
        })
        .notifying((List<ChangeEvent<String, String>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) -> {
          firstAt.compareAndSet(0, System.nanoTime());
          List<Future<?>> sent = new ArrayList<>(batch.size());
          for (ChangeEvent<String, String> event : batch) {
            if (event.destination() != null && event.destination().endsWith("." + table)) {
              sent.add(producer.send(new ProducerRecord<>(topic, event.key(), event.value())));
              if (event.value() != null) {
                changes.incrementAndGet();
                bytes.addAndGet(event.value().length());
              }
            }
            committer.markProcessed(event);
          }
          for (Future<?> answer : sent) {
            try {
              answer.get();
            } catch (ExecutionException failed) {
              throw new RuntimeException(failed);
            }
          }
          committer.markBatchFinished();
          if (changes.get() >= wanted) done.countDown();
        })
        .build();
    Executors.newSingleThreadExecutor().execute(debezium);
    boolean ended = done.await(DEADLINE_S, TimeUnit.SECONDS);
    double seconds = (System.nanoTime() - firstAt.get()) / 1e9;
    System.out.printf(java.util.Locale.ROOT, "{\"changes\": %d, \"seconds\": %.3f, \"message_bytes\": %d}%n", changes.get(), seconds, bytes.get());
    System.out.flush();
    Runtime.getRuntime().halt(ended && changes.get() >= wanted ? 0 : 1);
  }

  /** The engine begins where its stored offset says; with none it would begin with the newest event. */
  static void writeOffset(File file, String binlog, String gtids) throws Exception {
    String value = "{\"ts_sec\":1,\"file\":\"" + binlog + "\",\"pos\":4,\"gtids\":\"" + gtids + "\"}";
    HashMap<byte[], byte[]> offsets = new HashMap<>();
    offsets.put("[\"bench\",{\"server\":\"debezium\"}]".getBytes(), value.getBytes());
    try (ObjectOutputStream out = new ObjectOutputStream(new FileOutputStream(file))) {
      out.writeObject(offsets);
    }
  }
}
