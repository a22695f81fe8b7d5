package local_workspace;

import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.connector.catalog.SupportsRead;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.read.LocalScan;
import org.apache.spark.sql.connector.read.Scan;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;
import org.apache.spark.unsafe.types.UTF8String;

/** A table that is read and never written: its rows are made when they are asked for. */
public abstract class Rows implements SupportsRead, ScanBuilder, LocalScan {
    private final String name;
    private final StructType schema;
    private final String comment;

    public Rows(String name, StructType schema, String comment) {
        this.name = name;
        this.schema = schema;
        this.comment = comment;
    }

    /** The rows as arrays of what Spark has inside, texts as those of Java. */
    public abstract List values();

    public String name() {
        return this.name;
    }

    public StructType schema() {
        return this.schema;
    }

    public Map properties() {
        return Collections.singletonMap("comment", this.comment);
    }

    public Set capabilities() {
        return Collections.singleton(TableCapability.BATCH_READ);
    }

    public ScanBuilder newScanBuilder(CaseInsensitiveStringMap options) {
        return this;
    }

    public Scan build() {
        return this;
    }

    public StructType readSchema() {
        return this.schema;
    }

    public InternalRow[] rows() {
        List values = this.values();
        InternalRow[] rows = new InternalRow[values.size()];
        for (int each = 0; each < rows.length; each++) {
            Object[] row = (Object[]) ((Object[]) values.get(each)).clone();
            for (int column = 0; column < row.length; column++) {
                row[column] = row[column] instanceof String ? UTF8String.fromString((String) row[column]) : row[column];
            }
            rows[each] = new GenericInternalRow(row);
        }
        return rows;
    }
}
