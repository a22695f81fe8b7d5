package local_workspace;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/** `samples.nyctaxi.trips`: the columns of Databricks' table with made-up rows, the same ones each time. */
public final class Trips extends Rows {
    public static final String SCHEMA = "nyctaxi";
    public static final String TABLE = "trips";
    static final int COUNT = 10000;
    static final int[] ZIPS = {10001, 10002, 10003, 10009, 10010, 10011, 10012, 10016, 10019, 10021, 10023, 10025,
        10028, 10036, 10065, 10103, 10110, 10119, 10128, 11101, 11201, 11211, 11371, 11422};
    /** The beginning of 2016 in seconds, and the length of its first two months. */
    static final long FROM = 1451606400L;
    static final int SECONDS = 60 * 24 * 3600;

    public Trips() {
        super("samples.nyctaxi.trips", fields(), "Made up by the local workspace in the shape of Databricks' table");
    }

    private static StructType fields() {
        return new StructType()
            .add("tpep_pickup_datetime", DataTypes.TimestampType)
            .add("tpep_dropoff_datetime", DataTypes.TimestampType)
            .add("trip_distance", DataTypes.DoubleType)
            .add("fare_amount", DataTypes.DoubleType)
            .add("pickup_zip", DataTypes.IntegerType)
            .add("dropoff_zip", DataTypes.IntegerType);
    }

    public List values() {
        Random random = new Random(2016);
        List rows = new ArrayList();
        for (int each = 0; each < COUNT; each++) {
            double miles = Math.min(30.0, Math.exp(0.5 + 0.8 * random.nextGaussian()));
            long pickup = FROM + random.nextInt(SECONDS);
            long seconds = 120 + (long) (miles * (180 + random.nextInt(240)));
            double fare = Math.round(2 * (2.5 + 2.2 * miles + seconds / 240.0)) / 2.0;
            rows.add(new Object[] {
                Long.valueOf(pickup * 1000000L),
                Long.valueOf((pickup + seconds) * 1000000L),
                Double.valueOf(Math.round(100 * miles) / 100.0),
                Double.valueOf(fare),
                Integer.valueOf(ZIPS[random.nextInt(ZIPS.length)]),
                Integer.valueOf(ZIPS[random.nextInt(ZIPS.length)])});
        }
        return rows;
    }
}
