package local_workspace;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.spark.sql.catalyst.TableIdentifier;
import org.apache.spark.sql.catalyst.analysis.NamespaceAlreadyExistsException;
import org.apache.spark.sql.catalyst.analysis.NoSuchNamespaceException;
import org.apache.spark.sql.catalyst.analysis.NoSuchTableException;
import org.apache.spark.sql.catalyst.analysis.NonEmptyNamespaceException;
import org.apache.spark.sql.catalyst.analysis.TableAlreadyExistsException;
import org.apache.spark.sql.catalyst.catalog.CatalogTable;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.connector.catalog.Column;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.NamespaceChange;
import org.apache.spark.sql.connector.catalog.StagedTable;
import org.apache.spark.sql.connector.catalog.StagingTableCatalog;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableChange;
import org.apache.spark.sql.connector.catalog.TableInfo;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;
import scala.Option;
import scala.Some;

/**
 * A catalog beside Spark's own: what it is asked it asks Spark's own, which is Delta's, under other names.
 *
 * <p>The catalog `system` is also asked for catalogs, as schemas below `Names.CATALOGS`.
 */
public final class Catalog implements StagingTableCatalog, SupportsNamespaces {
    private String name;
    private SparkSession session;

    public void initialize(String name, CaseInsensitiveStringMap options) {
        this.name = name;
        this.session = SparkSession.active();
    }

    public void belongTo(SparkSession session) {
        this.session = session;
    }

    public String name() {
        return this.name;
    }

    public String[] defaultNamespace() {
        return new String[] {Names.DEFAULT};
    }

    public Set capabilities() {
        return this.tables().capabilities();
    }

    public Identifier[] listTables(String[] levels) throws NoSuchNamespaceException {
        this.require(levels);
        List found = new ArrayList();
        if (this.isMadeUp(levels)) {
            for (Object table : this.madeUp(levels[0])) {
                found.add(Identifier.of(levels, (String) table));
            }
        } else if (this.schemas().namespaceExists(this.own(levels))) {
            for (Identifier each : this.tables().listTables(this.own(levels))) {
                if (each.namespace().length > 0) { // a temporary view has none
                    found.add(Identifier.of(levels, each.name()));
                }
            }
        }
        return (Identifier[]) found.toArray(new Identifier[0]);
    }

    public boolean tableExists(Identifier one) {
        if (this.isMadeUp(one.namespace())) {
            return this.madeUp(one.namespace()[0].toLowerCase()).contains(one.name().toLowerCase());
        }
        return this.isPath(one) || this.schemas().namespaceExists(this.own(one.namespace()))
            ? this.tables().tableExists(this.own(one)) : false;
    }

    public Table loadTable(Identifier one) throws NoSuchTableException {
        if (this.isMadeUp(one.namespace())) {
            return this.madeUp(one);
        }
        return this.named(one, this.tables().loadTable(this.own(one)));
    }

    public Table loadTable(Identifier one, String version) throws NoSuchTableException {
        return this.named(one, this.tables().loadTable(this.own(one), version));
    }

    public Table loadTable(Identifier one, long time) throws NoSuchTableException {
        return this.named(one, this.tables().loadTable(this.own(one), time));
    }

    public void invalidateTable(Identifier one) {
        if (!this.isMadeUp(one.namespace())) {
            this.tables().invalidateTable(this.own(one));
        }
    }

    public Table createTable(Identifier one, TableInfo info)
        throws TableAlreadyExistsException, NoSuchNamespaceException {
        return this.named(one, this.tables().createTable(this.toMake(one), info));
    }

    /** The older form, by which Delta makes the table that it clones into. */
    public Table createTable(Identifier one, Column[] columns, Transform[] partitions, Map properties)
        throws TableAlreadyExistsException, NoSuchNamespaceException {
        return this.named(one, this.tables().createTable(this.toMake(one), columns, partitions, properties));
    }

    public StagedTable stageCreate(Identifier one, TableInfo info)
        throws TableAlreadyExistsException, NoSuchNamespaceException {
        return this.tables().stageCreate(this.toMake(one), info);
    }

    public StagedTable stageReplace(Identifier one, TableInfo info)
        throws NoSuchNamespaceException, NoSuchTableException {
        return this.tables().stageReplace(this.toMake(one), info);
    }

    public StagedTable stageCreateOrReplace(Identifier one, TableInfo info) throws NoSuchNamespaceException {
        return this.tables().stageCreateOrReplace(this.toMake(one), info);
    }

    public Table alterTable(Identifier one, TableChange[] changes) throws NoSuchTableException {
        return this.named(one, this.tables().alterTable(this.own(one), changes));
    }

    public boolean dropTable(Identifier one) {
        return this.tableExists(one) && this.tables().dropTable(this.own(one));
    }

    public boolean purgeTable(Identifier one) {
        return this.tableExists(one) && this.tables().purgeTable(this.own(one));
    }

    /** The new name may have the catalog's in front. */
    public void renameTable(Identifier one, Identifier other)
        throws NoSuchTableException, TableAlreadyExistsException {
        String[] levels = other.namespace();
        if (levels.length == 2 && levels[0].equalsIgnoreCase(this.name)) {
            levels = new String[] {levels[1]};
        }
        this.tables().renameTable(this.own(one), this.own(Identifier.of(levels, other.name())));
    }

    public String[][] listNamespaces() throws NoSuchNamespaceException {
        Set names = new TreeSet(Names.schemas(this.name));
        names.add(Names.INFORMATION);
        if (this.name.equals(Names.SAMPLES)) {
            names.add(Trips.SCHEMA);
        }
        String[][] found = new String[names.size()][];
        int place = 0;
        for (Object each : names) {
            found[place++] = new String[] {(String) each};
        }
        return found;
    }

    public String[][] listNamespaces(String[] above) throws NoSuchNamespaceException {
        if (above.length == 0) {
            return this.listNamespaces();
        }
        this.require(above);
        return new String[0][];
    }

    public boolean namespaceExists(String[] levels) {
        if (this.isCatalog(levels)) {
            return Names.catalogs().contains(levels[1].toLowerCase()) || levels[1].equalsIgnoreCase(Names.OWN);
        }
        if (levels.length != 1) {
            return false;
        }
        return this.isMadeUp(levels) || Names.isMade(this.name, levels[0].toLowerCase());
    }

    public Map loadNamespaceMetadata(String[] levels) throws NoSuchNamespaceException {
        this.require(levels);
        if (this.isCatalog(levels)) {
            return Collections.singletonMap("comment", Names.comment(levels[1].toLowerCase()));
        }
        Map details = new HashMap();
        if (!this.isMadeUp(levels) && this.schemas().namespaceExists(this.own(levels))) {
            details.putAll(this.schemas().loadNamespaceMetadata(this.own(levels)));
        }
        details.put("comment", Names.comment(this.name, levels[0].toLowerCase()));
        return details;
    }

    public void createNamespace(String[] levels, Map details) throws NamespaceAlreadyExistsException {
        if (this.namespaceExists(levels)) {
            throw new NamespaceAlreadyExistsException(levels);
        }
        String last = levels[levels.length - 1].toLowerCase();
        Object comment = details.get("comment");
        String told = comment == null ? "" : (String) comment;
        if (this.isCatalog(levels)) {
            checkName(last);
            Names.make(last, told);
            return;
        }
        checkName(String.join(".", levels));
        this.requireMade();
        if (!this.schemas().namespaceExists(this.own(levels))) {
            this.schemas().createNamespace(this.own(levels), details);
        }
        Names.make(this.name, last, told);
    }

    public void alterNamespace(String[] levels, NamespaceChange[] changes) throws NoSuchNamespaceException {
        this.require(levels);
        boolean isCatalog = this.isCatalog(levels);
        String catalog = isCatalog ? levels[1].toLowerCase() : this.name;
        String file = isCatalog ? Names.COMMENT : levels[0].toLowerCase();
        if (!Names.isMade(catalog) || this.isMadeUp(levels)) {
            Rights.fail("the catalog " + catalog + " and the schema " + levels[0] + " cannot be changed");
        }
        for (NamespaceChange each : changes) { // Hive has no way to change the comment of a schema
            if (each instanceof NamespaceChange.SetProperty) {
                NamespaceChange.SetProperty set = (NamespaceChange.SetProperty) each;
                if (set.property().equals("comment")) {
                    Names.make(catalog, file, set.value());
                }
            }
        }
        if (!isCatalog) {
            this.ensure(levels);
            this.schemas().alterNamespace(this.own(levels), changes);
        }
    }

    public boolean dropNamespace(String[] levels, boolean cascade)
        throws NoSuchNamespaceException, NonEmptyNamespaceException {
        this.require(levels);
        if (this.isCatalog(levels)) {
            return this.dropCatalog(levels[1].toLowerCase(), cascade);
        }
        this.requireMade();
        if (this.isMadeUp(levels)) {
            Rights.fail("the schema " + this.name + "." + levels[0] + " cannot be dropped");
        }
        this.dropSchema(levels, cascade);
        return true;
    }

    private boolean dropCatalog(String catalog, boolean cascade)
        throws NoSuchNamespaceException, NonEmptyNamespaceException {
        if (!Names.isMade(catalog)) {
            Rights.fail("the catalog " + catalog + " is always here and cannot be dropped");
        }
        Catalog dropped = (Catalog) this.session.sessionState().catalogManager().catalog(catalog);
        for (Object each : Names.schemas(catalog)) {
            String[] levels = {(String) each};
            if (!cascade && (!each.equals(Names.DEFAULT) || dropped.listTables(levels).length > 0)) {
                Rights.fail("[CATALOG_NOT_EMPTY] Cannot drop catalog `" + catalog + "`: it has the schema `" + each
                    + "`. Add CASCADE to drop it with all that is in it.");
            }
        }
        for (Object each : Names.schemas(catalog)) {
            dropped.dropSchema(new String[] {(String) each}, true);
        }
        Names.remove(catalog);
        return true;
    }

    private void dropSchema(String[] levels, boolean cascade)
        throws NoSuchNamespaceException, NonEmptyNamespaceException {
        if (this.schemas().namespaceExists(this.own(levels))) {
            if (!cascade && this.listTables(levels).length > 0) {
                throw new NonEmptyNamespaceException(levels);
            }
            this.schemas().dropNamespace(this.own(levels), true);
        }
        Names.remove(this.name, levels[0].toLowerCase());
    }

    /** The name of what is to be made by Spark's own catalog; its schema is made where it was only said to be there. */
    private Identifier toMake(Identifier one) throws NoSuchNamespaceException {
        if (!this.isPath(one)) {
            this.require(one.namespace());
            this.requireMade();
            if (this.isMadeUp(one.namespace())) {
                Rights.fail("nothing can be made in " + this.name + "." + one.namespace()[0]);
            }
            this.ensure(one.namespace());
        }
        return this.own(one);
    }

    /** Makes the schema of Spark's own that stands for one, when something is to be in it. */
    public void ensure(String[] levels) {
        String[] own = this.own(levels);
        if (!this.schemas().namespaceExists(own)) {
            try {
                this.schemas().createNamespace(own, Collections.emptyMap());
            } catch (NamespaceAlreadyExistsException error) {
                return; // another run was quicker
            }
        }
    }

    private void requireMade() {
        if (!Names.isMade(this.name)) {
            Rights.fail("the catalog " + this.name + " can only be read");
        }
    }

    private void require(String[] levels) throws NoSuchNamespaceException {
        if (!this.namespaceExists(levels)) {
            throw new NoSuchNamespaceException(levels);
        }
    }

    private static void checkName(String name) {
        if (!Names.isName(name.toLowerCase())) {
            Rights.fail("`" + name + "` is not a name for a catalog or a schema here: it has"
                + " other signs than letters, digits and _");
        }
    }

    private boolean isCatalog(String[] levels) {
        return levels.length == 2 && levels[0].equals(Names.CATALOGS) && this.name.equals(Names.SYSTEM);
    }

    private boolean isMadeUp(String[] levels) {
        boolean isOfSamples = this.name.equals(Names.SAMPLES) && levels.length == 1
            && levels[0].equalsIgnoreCase(Trips.SCHEMA);
        return isOfSamples || levels.length == 1 && levels[0].equalsIgnoreCase(Names.INFORMATION);
    }

    private Set madeUp(String schema) {
        return schema.equalsIgnoreCase(Trips.SCHEMA) ? Collections.singleton(Trips.TABLE) : Information.tables();
    }

    private Table madeUp(Identifier one) throws NoSuchTableException {
        if (!this.tableExists(one)) {
            throw new NoSuchTableException(one);
        }
        return one.name().equalsIgnoreCase(Trips.TABLE) && this.name.equals(Names.SAMPLES)
            ? (Table) new Trips() : (Table) new Information(this.name, one.name().toLowerCase(), this.session);
    }

    private static boolean isPath(Identifier one) {
        return one.name().indexOf("/") >= 0 && one.namespace().length == 1;
    }

    private Identifier own(Identifier one) {
        return isPath(one) ? one : Identifier.of(this.own(one.namespace()), one.name());
    }

    private String[] own(String[] levels) {
        return new String[] {Names.database(this.name, String.join(".", levels))};
    }

    private StagingTableCatalog tables() {
        return (StagingTableCatalog) this.session.sessionState().catalogManager().v2SessionCatalog();
    }

    private SupportsNamespaces schemas() {
        return (SupportsNamespaces) this.session.sessionState().catalogManager().v2SessionCatalog();
    }

    /** A table of Delta under the name by which it was asked for, which DESCRIBE and messages tell then. */
    private Table named(Identifier one, Table table) {
        if (isPath(one) || !table.getClass().getSimpleName().equals("DeltaTableV2")) {
            return table;
        }
        TableIdentifier full = new TableIdentifier(one.name(), new Some(one.namespace()[0]), new Some(this.name));
        CatalogTable known = (CatalogTable) ((Option) Rights.call(table, "catalogTable")).get();
        Object[] details = new Object[known.productArity()];
        for (int each = 1; each < details.length; each++) {
            details[each] = known.productElement(each);
        }
        details[0] = full;
        Object renamed = made(CatalogTable.class, details);
        return (Table) copied(table, new Some(renamed), new Some(this.name + "." + one.toString()));
    }

    private static Object made(Class kind, Object[] details) {
        try {
            return kind.getConstructors()[0].newInstance(details);
        } catch (Exception error) {
            throw new IllegalStateException("Spark's " + kind + " is not as it was", error);
        }
    }

    private static Object copied(Table table, Object known, Object name) {
        Object[] details = {Rights.call(table, "spark"), Rights.call(table, "path"), known, name,
            Rights.call(table, "timeTravelOpt"), Rights.call(table, "options")};
        for (Method each : table.getClass().getMethods()) {
            if (each.getName().equals("copy") && each.getParameterTypes().length == details.length) {
                try {
                    return each.invoke(table, details);
                } catch (Exception error) {
                    throw new IllegalStateException("a table of Delta cannot be renamed", error);
                }
            }
        }
        throw new IllegalStateException("a table of Delta cannot be renamed: it has no copy() any more");
    }
}
