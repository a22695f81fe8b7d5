package local_workspace;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.FileAttribute;
import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.sql.catalyst.TableIdentifier;

/**
 * Which catalogs there are beside Spark's own, and where their tables lie: a schema of one of them is a schema of
 * Spark's own catalog, whose name tells both.
 *
 * <p>A catalog is a folder and each of its schemas a file with its comment, which the workspace reads and writes too.
 */
public final class Names {
    public static final String OWN = "spark_catalog";
    public static final String SYSTEM = "system";
    public static final String SAMPLES = "samples";
    public static final String DEFAULT = "default";
    /** The file with the comment of a catalog: no schema can be called that. */
    public static final String COMMENT = "-comment";
    public static final String INFORMATION = "information_schema";
    /** Stands for the list of catalogs, where a statement about a catalog is told as one about a schema. */
    public static final String CATALOGS = "catalogs of the workspace";
    public static final Pattern NAME = Pattern.compile("[a-z0-9_]+");
    public static final Pattern DATABASE = Pattern.compile("uc([0-9]+)_(.+)");

    private Names() {}

    /** The names of all catalogs but Spark's own. */
    public static Set catalogs() {
        Set found = listed(folder());
        found.addAll(Arrays.asList(new String[] {SAMPLES, SYSTEM}));
        return found;
    }

    /** Whether there is a catalog that tables can be made in. */
    public static boolean isMade(String catalog) {
        return isName(catalog) && Files.isDirectory(folder().resolve(catalog), new LinkOption[0]);
    }

    public static boolean isMade(String catalog, String schema) {
        return isName(catalog) && isName(schema) && folder().resolve(catalog).resolve(schema).toFile().isFile();
    }

    /** Whether something can be called that here; no other name leads to a file. */
    public static boolean isName(String name) {
        return NAME.matcher(name).matches();
    }

    public static Set schemas(String catalog) {
        Set found = listed(folder().resolve(catalog));
        found.remove(COMMENT);
        return found;
    }

    /** Makes a catalog with its first schema. */
    public static void make(String catalog, String comment) {
        make(catalog, COMMENT, comment);
        make(catalog, DEFAULT, "");
    }

    /** Makes a schema, or gives it another comment. */
    public static void make(String catalog, String schema, String comment) {
        try {
            Files.createDirectories(folder().resolve(catalog), new FileAttribute[0]);
            Files.write(folder().resolve(catalog).resolve(schema), comment.getBytes("UTF-8"), new OpenOption[0]);
        } catch (IOException error) {
            throw new IllegalStateException(catalog + "." + schema + " cannot be kept", error);
        }
    }

    public static void remove(String catalog) {
        for (Object each : listed(folder().resolve(catalog))) {
            remove(catalog, (String) each);
        }
        folder().resolve(catalog).toFile().delete();
    }

    public static void remove(String catalog, String schema) {
        folder().resolve(catalog).resolve(schema).toFile().delete();
    }

    public static String comment(String catalog) {
        return comment(catalog, COMMENT);
    }

    public static String comment(String catalog, String schema) {
        try {
            Path file = folder().resolve(catalog).resolve(schema);
            return isMade(catalog) && file.toFile().isFile() ? new String(Files.readAllBytes(file), "UTF-8") : "";
        } catch (IOException error) {
            throw new IllegalStateException(catalog + "." + schema + " cannot be read", error);
        }
    }

    /** The schema of Spark's own catalog in which the tables of another's are: the number tells where it ends. */
    public static String database(String catalog, String schema) {
        return "uc" + catalog.length() + "_" + catalog + "_" + schema.toLowerCase();
    }

    /** The catalog and the schema that a schema of Spark's own stands for; null where it stands for itself. */
    public static String[] levels(String database) {
        Matcher found = DATABASE.matcher(database.toLowerCase());
        if (!found.matches() || found.group(1).length() > 3) {
            return null;
        }
        int length = Integer.parseInt(found.group(1));
        String names = found.group(2);
        return names.length() > length + 1 && names.charAt(length) == '_'
            ? new String[] {names.substring(0, length), names.substring(length + 1)} : null;
    }

    /** The full name of a schema of a catalog, which may be one of Spark's own that stands for another. */
    public static String schema(String catalog, String schema) {
        String[] meant = catalog.equals(OWN) ? levels(schema) : null;
        if (meant != null) {
            return meant[0] + "." + meant[1];
        }
        return catalog.equals(OWN) ? catalog + "." + schema : catalog + "." + schema.toLowerCase();
    }

    /** The full name of a table. */
    public static String table(String catalog, String schema, String table) {
        String above = schema(catalog, schema);
        return above + "." + (above.startsWith(OWN + ".") ? table : table.toLowerCase());
    }

    /** The full name of a table that Spark has by its own catalog, or that the plug-in has given its name. */
    public static String table(TableIdentifier table) {
        String catalog = table.catalog().isDefined() ? (String) table.catalog().get() : OWN;
        return table(catalog, (String) table.database().get(), table.table());
    }

    private static Set listed(Path folder) {
        String[] names = folder.toFile().list();
        return new TreeSet(Arrays.asList(names == null ? new String[0] : names));
    }

    private static Path folder() {
        return Paths.get(System.getenv("LOCAL_WORKSPACE_CATALOGS"), new String[0]);
    }
}
