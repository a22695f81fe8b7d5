package local_workspace;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.sql.AnalysisException;
import org.apache.spark.sql.SparkSessionExtensions;
import org.apache.spark.sql.catalyst.FunctionIdentifier;
import org.apache.spark.sql.catalyst.TableIdentifier;
import org.apache.spark.sql.catalyst.analysis.UnresolvedNamespace;
import org.apache.spark.sql.catalyst.catalog.SessionCatalog;
import org.apache.spark.sql.catalyst.expressions.Expression;
import org.apache.spark.sql.catalyst.parser.ParameterContext;
import org.apache.spark.sql.catalyst.parser.ParameterHandler;
import org.apache.spark.sql.catalyst.parser.ParseException;
import org.apache.spark.sql.catalyst.parser.ParserInterface;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.trees.TreeNode;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.connector.catalog.CatalogManager;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StructType;
import scala.Product;
import scala.Some;
import scala.Tuple2;
import scala.collection.Iterator;
import scala.collection.immutable.Seq;
import scala.runtime.AbstractFunction1;
import scala.runtime.AbstractFunction2;
import scala.runtime.BoxedUnit;

/**
 * Tells Spark in its own words what Databricks has statements for, and in time which catalogs there are.
 *
 * <p>Spark makes views in its own catalog only: a view of another is named there before Spark sees the name.
 */
public final class Statements extends AbstractFunction1 {
    static final int FLAGS = Pattern.CASE_INSENSITIVE | Pattern.DOTALL;
    static final String START = "^((?:\\s++|--[^\\n]*\\n|/\\*.*?\\*/)*+)";
    static final String LIST = "`" + Names.SYSTEM + "`.`" + Names.CATALOGS + "`.";
    static final Pattern FIRST = Pattern.compile("^`?(\\w+)`?");
    static final Pattern MADE = pattern("CREATE\\s+CATALOG\\s+(IF\\s+NOT\\s+EXISTS\\s+)?(\\S.*)$");
    static final Pattern DROPPED = pattern("DROP\\s+CATALOG\\s+(IF\\s+EXISTS\\s+)?(\\S.*)$");
    static final Pattern USED = pattern("USE\\s+CATALOG\\s+(\\S.*)$");
    static final Pattern DESCRIBED = pattern("DESC(?:RIBE)?\\s+CATALOG\\s+(?:EXTENDED\\s+)?`?([\\w$-]+)`?\\s*$");
    static final Pattern COMMENTED = pattern("COMMENT\\s+ON\\s+CATALOG\\s+(\\S.*)$");
    static final Pattern REFRESHED = pattern("CREATE\\s+OR\\s+REFRESH\\s+((?:STREAMING|MATERIALIZED)\\s.*)$");
    static final Pattern SCHEMA = pattern("(CREATE\\s+(?:SCHEMA|DATABASE)\\s.*)$");
    static final Pattern MANAGED = Pattern.compile("\\bMANAGED\\s+(LOCATION\\s+['\"])", FLAGS);
    static final Set VIEWS = Rights.set("CreateView DropView AlterViewAs ShowViews SetViewProperties"
        + " UnsetViewProperties DescribeRelation ShowCreateTable ShowTableProperties");
    static final Set NAMED = Rights.set("UnresolvedIdentifier UnresolvedView UnresolvedTableOrView"
        + " UnresolvedNamespace");

    public Object apply(Object extensions) {
        ((SparkSessionExtensions) extensions).injectParser(new ParserBuilder());
        ((SparkSessionExtensions) extensions).injectResolutionRule(new Hiding.Builder());
        return BoxedUnit.UNIT;
    }

    /** Makes the parser of one session. */
    public static final class ParserBuilder extends AbstractFunction2 {
        public Object apply(Object session, Object inner) {
            return new Parser((SparkSession) session, (ParserInterface) inner);
        }
    }

    /** Hands on to the parsers of Delta and of Spark. */
    public static final class Parser implements ParserInterface {
        private final SparkSession session;
        private final ParserInterface inner;

        Parser(SparkSession session, ParserInterface inner) {
            this.session = session;
            this.inner = inner;
        }

        public LogicalPlan parsePlan(String text) throws ParseException {
            know(this.session);
            return new Naming(this.session).named(this.inner.parsePlan(told(text)));
        }

        /** Delta's parser loses the values of parameters: they are put into the text before, as Spark itself does. */
        public LogicalPlan parsePlanWithParameters(String text, ParameterContext parameters) throws ParseException {
            String whole = (String) ParameterHandler.substituteParameters(told(text), parameters)._1();
            know(this.session);
            return new Naming(this.session).named(this.inner.parsePlan(whole));
        }

        public LogicalPlan parseQuery(String text) throws ParseException {
            know(this.session);
            return this.inner.parseQuery(text);
        }

        public Expression parseExpression(String text) throws ParseException {
            return this.inner.parseExpression(text);
        }

        public TableIdentifier parseTableIdentifier(String text) throws ParseException {
            return this.inner.parseTableIdentifier(text);
        }

        public FunctionIdentifier parseFunctionIdentifier(String text) throws ParseException {
            return this.inner.parseFunctionIdentifier(text);
        }

        public Seq parseMultipartIdentifier(String text) throws ParseException {
            know(this.session);
            return this.inner.parseMultipartIdentifier(text);
        }

        public StructType parseTableSchema(String text) throws ParseException {
            return this.inner.parseTableSchema(text);
        }

        public DataType parseDataType(String text) throws ParseException {
            return this.inner.parseDataType(text);
        }

        public StructType parseRoutineParam(String text) throws ParseException {
            return this.inner.parseRoutineParam(text);
        }
    }

    /** A statement as Spark takes it: a catalog is told as a schema in the list of catalogs. */
    static String told(String text) {
        Matcher found = MADE.matcher(text);
        if (found.find()) {
            String condition = found.group(2) == null ? "" : found.group(2);
            if (condition.equals("") && isKnown(first(found.group(3)))) {
                Rights.fail("[CATALOG_ALREADY_EXISTS] Cannot create catalog `" + first(found.group(3)) + "` because it"
                    + " already exists. Choose another name, drop it, or add IF NOT EXISTS.");
            }
            return found.group(1) + "CREATE NAMESPACE " + condition + LIST
                + MANAGED.matcher(found.group(3)).replaceFirst("$1");
        }
        found = DROPPED.matcher(text);
        if (found.find()) {
            String condition = found.group(2) == null ? "" : found.group(2);
            if (condition.equals("")) {
                require(first(found.group(3)));
            }
            return found.group(1) + "DROP NAMESPACE " + condition + LIST + found.group(3);
        }
        found = USED.matcher(text);
        if (found.find()) {
            String name = first(found.group(2).replaceFirst("^['\"]", "`"));
            boolean isName = found.group(2).matches("([`'\"]?)\\w+\\1\\s*;?\\s*");
            if (isName) {
                require(name);
            }
            return found.group(1) + "SET CATALOG " + (isName ? "`" + name + "`" : found.group(2));
        }
        found = DESCRIBED.matcher(text);
        if (found.find()) {
            return description(found.group(2).toLowerCase());
        }
        found = COMMENTED.matcher(text);
        if (found.find()) {
            return found.group(1) + "COMMENT ON NAMESPACE " + LIST + found.group(2);
        }
        found = REFRESHED.matcher(text);
        if (found.find()) { // in a pipeline, whose tables are refreshed by each run
            return found.group(1) + "CREATE " + found.group(2);
        }
        found = SCHEMA.matcher(text);
        return found.find() ? MANAGED.matcher(text).replaceFirst("$1") : text;
    }

    /** The name at the beginning of a text. */
    private static String first(String text) {
        Matcher found = FIRST.matcher(text);
        return found.find() ? found.group(1).toLowerCase() : "";
    }

    private static boolean isKnown(String catalog) {
        return Names.catalogs().contains(catalog) || catalog.equals(Names.OWN);
    }

    private static void require(String catalog) {
        if (!isKnown(catalog)) {
            Rights.fail("[CATALOG_NOT_FOUND] The catalog `" + catalog + "` is not found. There are " + Names.catalogs()
                + " and " + Names.OWN + ".");
        }
    }

    private static String description(String catalog) {
        require(catalog);
        String comment = Names.comment(catalog).replace("\\", "\\\\").replace("'", "\\'");
        return "SELECT * FROM VALUES ('Catalog Name', '" + catalog + "'), ('Comment', '" + comment
            + "') AS catalog(info_name, info_value)";
    }

    private static Pattern pattern(String words) {
        return Pattern.compile(START + words, FLAGS);
    }

    /** Has the session know the catalogs that there are now, and no others. */
    static void know(SparkSession session) {
        CatalogManager manager = session.sessionState().catalogManager();
        Set there = Names.catalogs();
        for (Object each : there) {
            String name = (String) each;
            String setting = "spark.sql.catalog." + name;
            if (session.sessionState().conf().getConfString(setting, null) == null) {
                session.sessionState().conf().setConfString(setting, "local_workspace.Catalog");
                session.sharedState().conf().set(setting, "local_workspace.Catalog");
            }
            if (manager.isCatalogRegistered(name)) { // and loads it
                ((Catalog) manager.catalog(name)).belongTo(session);
            }
        }
        synchronized (manager) {
            forget(session, (scala.collection.mutable.HashMap) loaded(manager), there);
        }
    }

    private static void forget(SparkSession session, scala.collection.mutable.HashMap loaded, Set there) {
        List gone = new ArrayList();
        Iterator known = loaded.iterator();
        while (known.hasNext()) {
            Tuple2 pair = (Tuple2) known.next();
            if (pair._2() instanceof Catalog && !there.contains(pair._1())) {
                gone.add(pair._1());
            }
        }
        for (Object each : gone) {
            loaded.remove(each);
            session.sessionState().conf().unsetConf("spark.sql.catalog." + each);
            session.sharedState().conf().remove("spark.sql.catalog." + each);
        }
    }

    private static Object loaded(CatalogManager manager) {
        try {
            java.lang.reflect.Field field = CatalogManager.class.getDeclaredField("catalogs");
            field.setAccessible(true);
            return field.get(manager);
        } catch (Exception error) {
            throw new IllegalStateException("the catalogs that a session knows cannot be looked at", error);
        }
    }

    /** Names views in Spark's own catalog. */
    public static final class Naming extends AbstractFunction1 {
        private final SparkSession session;
        private boolean isMaking;

        Naming(SparkSession session) {
            this.session = session;
        }

        LogicalPlan named(LogicalPlan plan) {
            String name = plan.getClass().getSimpleName();
            this.isMaking = name.equals("CreateView");
            return VIEWS.contains(name) ? (LogicalPlan) plan.mapChildren(this) : plan;
        }

        public Object apply(Object child) {
            String kind = child.getClass().getSimpleName();
            if (kind.startsWith("CurrentNamespace")) {
                String[] own = own(new String[0], 1);
                return own == null ? child : new UnresolvedNamespace(sequence(own), false);
            }
            if (!NAMED.contains(kind)) {
                return child;
            }
            boolean isSchema = kind.equals("UnresolvedNamespace");
            String[] parts = Rights.levels(((Product) child).productElement(0));
            String[] own = own(parts, isSchema ? 1 : 2);
            boolean isMeant = own != null && (!kind.equals("UnresolvedTableOrView") || this.isView(own));
            return isMeant ? copy((TreeNode) child, sequence(own)) : child;
        }

        private boolean isView(String[] own) {
            SessionCatalog catalog = this.session.sessionState().catalog();
            TableIdentifier name = new TableIdentifier(own[2], new Some(own[1]));
            try {
                return catalog.databaseExists(own[1]) && catalog.tableExists(name)
                    && catalog.getTableMetadata(name).tableType().name().equals("VIEW");
            } catch (AnalysisException error) {
                return false; // gone meanwhile: Spark tells so
            }
        }

        /** The name in Spark's own catalog, of so many levels below it; null where it is there already. */
        private String[] own(String[] parts, int levels) {
            CatalogManager manager = this.session.sessionState().catalogManager();
            boolean isTemporary = parts.length == 1 && levels == 2
                && this.session.sessionState().catalog().getTempView(parts[0]).isDefined();
            boolean isFull = parts.length == levels + 1;
            String catalog = isFull ? parts[0].toLowerCase() : manager.currentCatalog().name();
            if (isTemporary || parts.length > levels + 1 || !Names.isMade(catalog)) {
                return null;
            }
            String[] below = isFull ? (String[]) Arrays.copyOfRange(parts, 1, parts.length) : parts;
            String schema = below.length == levels ? below[0] : manager.currentNamespace()[0];
            Catalog found = (Catalog) manager.catalog(catalog);
            if (this.isMaking) {
                if (!found.namespaceExists(new String[] {schema})) {
                    Rights.fail("[SCHEMA_NOT_FOUND] The schema `" + catalog + "`.`" + schema + "` cannot be found.");
                }
                found.ensure(new String[] {schema});
            }
            String database = Names.database(catalog, schema);
            return levels == 1 ? new String[] {Names.OWN, database}
                : new String[] {Names.OWN, database, below[below.length - 1]};
        }

        private static Seq sequence(String[] names) {
            return scala.collection.immutable.ArraySeq$.MODULE$.unsafeWrapArray(names);
        }

        private static Object copy(TreeNode child, Seq name) {
            Object[] details = new Object[((Product) child).productArity()];
            for (int each = 1; each < details.length; each++) {
                details[each] = ((Product) child).productElement(each);
            }
            details[0] = name;
            return child.makeCopy(details);
        }
    }
}
