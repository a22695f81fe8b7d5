package local_workspace;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.connector.catalog.CatalogPlugin;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCatalog;
import org.apache.spark.sql.connector.catalog.V1Table;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** A table of `information_schema`: of one catalog, of all of them in `system`. It has the columns that can be told. */
public final class Information extends Rows {
    private final String catalog;
    private final String table;
    private final SparkSession session;

    public Information(String catalog, String table, SparkSession session) {
        super(catalog + "." + Names.INFORMATION + "." + table, columns(table), "What is in the catalog");
        this.catalog = catalog;
        this.table = table;
        this.session = session;
    }

    public static Set tables() {
        return new TreeSet(Arrays.asList(new String[] {"catalogs", "schemata", "tables", "columns", "views"}));
    }

    private static StructType columns(String table) {
        String names = "catalog_name comment";
        if (table.equals("schemata")) {
            names = "catalog_name schema_name comment";
        } else if (table.equals("tables")) {
            names = "table_catalog table_schema table_name table_type data_source_format comment";
        } else if (table.equals("views")) {
            names = "table_catalog table_schema table_name view_definition";
        } else if (table.equals("columns")) {
            names = "table_catalog table_schema table_name column_name ordinal_position is_nullable full_data_type"
                + " data_type comment";
        }
        StructType columns = new StructType();
        for (String each : names.split(" ")) {
            DataType type = each.equals("ordinal_position") ? DataTypes.IntegerType : DataTypes.StringType;
            columns = columns.add(each, type);
        }
        return columns;
    }

    public List values() {
        List rows = new ArrayList();
        Set catalogs = new TreeSet(Names.catalogs());
        catalogs.add(Names.OWN);
        for (Object each : catalogs) {
            if (this.catalog.equals(Names.SYSTEM) || this.catalog.equals(each)) {
                this.addCatalog((String) each, rows);
            }
        }
        return rows;
    }

    private void addCatalog(String name, List rows) {
        if (this.table.equals("catalogs")) {
            rows.add(new Object[] {name, Names.comment(name)});
            return;
        }
        CatalogPlugin found = this.session.sessionState().catalogManager().catalog(name);
        try {
            for (String[] levels : ((SupportsNamespaces) found).listNamespaces()) {
                if (name.equals(Names.OWN) && Names.levels(levels[0]) != null) {
                    continue;
                }
                if (this.table.equals("schemata")) {
                    Map details = ((SupportsNamespaces) found).loadNamespaceMetadata(levels);
                    rows.add(new Object[] {name, levels[0], details.get("comment")});
                } else if (!levels[0].equals(Names.INFORMATION)) {
                    this.addSchema(name, levels, (TableCatalog) found, rows);
                }
            }
        } catch (org.apache.spark.sql.AnalysisException error) {
            return; // dropped by somebody meanwhile
        }
    }

    private void addSchema(String name, String[] levels, TableCatalog found, List rows)
        throws org.apache.spark.sql.AnalysisException {
        for (Identifier each : found.listTables(levels)) {
            Table one = found.loadTable(each);
            boolean isView = one instanceof V1Table
                && ((V1Table) one).catalogTable().tableType().name().equals("VIEW");
            if (this.table.equals("columns")) {
                this.addColumns(name, levels[0], each.name(), one.schema(), rows);
            } else if (this.table.equals("views") && isView) {
                Object text = ((V1Table) one).catalogTable().viewText().get();
                rows.add(new Object[] {name, levels[0], each.name(), text});
            } else if (this.table.equals("tables")) {
                rows.add(new Object[] {name, levels[0], each.name(), kind(one, isView), format(one, isView),
                    one.properties().get("comment")});
            }
        }
    }

    private void addColumns(String catalog, String schema, String table, StructType columns, List rows) {
        StructField[] fields = columns.fields();
        for (int place = 0; place < fields.length; place++) {
            StructField field = fields[place];
            String type = field.dataType().typeName().toUpperCase(Locale.ROOT);
            int end = type.indexOf("(");
            type = end < 0 ? type : type.substring(0, end);
            Object comment = field.getComment().isDefined() ? field.getComment().get() : null;
            rows.add(new Object[] {catalog, schema, table, field.name(), Integer.valueOf(place),
                field.nullable() ? "YES" : "NO", field.dataType().catalogString(),
                type.equals("INTEGER") ? "INT" : type, comment});
        }
    }

    private static String kind(Table one, boolean isView) {
        if (isView) {
            return "VIEW";
        }
        return "true".equals(one.properties().get("external")) ? "EXTERNAL" : "MANAGED";
    }

    private static String format(Table one, boolean isView) {
        Object provider = one.properties().get("provider");
        return isView || provider == null ? "UNKNOWN" : ((String) provider).toUpperCase(Locale.ROOT);
    }
}
