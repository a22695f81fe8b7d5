package local_workspace;

import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.net.HttpURLConnection;
import java.net.URL;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.spark.sql.AnalysisException;
import org.apache.spark.sql.SparkSessionExtensions;
import org.apache.spark.sql.catalyst.CurrentUserContext;
import org.apache.spark.sql.catalyst.TableIdentifier;
import org.apache.spark.sql.catalyst.catalog.CatalogTable;
import org.apache.spark.sql.catalyst.plans.logical.Command;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.connector.catalog.CatalogPlugin;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.TableCatalog;
import scala.Option;
import scala.Some;
import scala.collection.Iterator;
import scala.runtime.AbstractFunction1;
import scala.runtime.BoxedUnit;

/**
 * Asks the workspace, for each plan that Spark has resolved, whether its user may do it.
 *
 * <p>Compiled at the start of the cluster by the compiler that Spark carries, which knows neither type
 * parameters nor lambdas; what Delta has is reached by its methods' names, since its classes come later.
 */
public final class Rights extends AbstractFunction1 {
    static final String USER = "spark.local_workspace.user";
    static final Set CREATING = set("CreateTable CreateTableAsSelect ReplaceTable ReplaceTableAsSelect"
        + " CreateDataSourceTableCommand CreateDataSourceTableAsSelectCommand CreateTableCommand CreateViewCommand");
    static final Set REPLACING = set("ReplaceTable ReplaceTableAsSelect");
    static final Set MANAGING = set("DropTable DropView DropTableCommand RenameTable AlterViewAsCommand");
    static final Set CHANGING = set("AppendData OverwriteByExpression OverwritePartitionsDynamic"
        + " InsertIntoHadoopFsRelationCommand InsertIntoHiveTable InsertIntoDataSourceCommand"
        + " SaveIntoDataSourceCommand DeleteCommand UpdateCommand MergeIntoCommand DeleteFromTable UpdateTable"
        + " MergeIntoTable OptimizeTableCommand VacuumTableCommand RestoreTableCommand TruncateTable"
        + " TruncateDeltaTableCommand AddColumns AlterColumns DropColumns RenameColumn ReplaceColumns"
        + " SetTableProperties UnsetTableProperties AnalyzeTable AnalyzeColumn");
    static final Set READING = set("DescribeRelation DescribeColumn DescribeTableCommand"
        + " DescribeDeltaHistoryCommand DescribeDeltaDetailCommand ShowCreateTable ShowColumns"
        + " ShowTableProperties ShowPartitions RefreshTable CacheTable UncacheTable");
    static final Set FREE = set("ShowTables ShowTablesCommand ShowNamespaces ShowNamespacesCommand ShowCatalogs"
        + " ShowCatalogsCommand ShowCurrentNamespace ShowCurrentNamespaceCommand ShowFunctions ShowViews"
        + " ShowFunctionsCommand DescribeFunction DescribeNamespace SetCommand ResetCommand ExplainCommand"
        + " SetCatalogAndNamespace SetNamespaceCommand SetCatalogCommand CreateTempViewUsing CacheTableAsSelect"
        + " CommandResult SetVariable CreateVariable DropVariable ClearCacheCommand ClearCache"
        + " DropTempViewCommand");

    public Object apply(Object extensions) {
        ((SparkSessionExtensions) extensions).injectCheckRule(new Builder());
        return BoxedUnit.UNIT;
    }

    /** Makes the check of one session. */
    public static final class Builder extends AbstractFunction1 {
        public Object apply(Object session) {
            return new Check((SparkSession) session);
        }
    }

    /** Looks at a plan once it is resolved, before anything of it is done. */
    public static final class Check extends AbstractFunction1 {
        private final SparkSession session;

        Check(SparkSession session) {
            this.session = session;
        }

        public Object apply(Object plan) {
            String user = user();
            CurrentUserContext.CURRENT_USER().set(user); // for current_user(), which is replaced in this thread
            Set asked = new LinkedHashSet();
            boolean isFirst = user.equals(System.getenv("LOCAL_WORKSPACE_FIRST_USER"));
            if (isFirst) {
                String name = ((LogicalPlan) plan).getClass().getSimpleName();
                if (CREATING.contains(name) || name.equals("CreateNamespace")) {
                    creation((LogicalPlan) plan, name, asked);
                }
            } else if (!isWithinView()) {
                look((LogicalPlan) plan, asked);
            }
            if (!asked.isEmpty()) {
                String refusal = ask(user, asked);
                if (refusal.length() > 0) {
                    refuse(refusal);
                }
            }
            return BoxedUnit.UNIT;
        }

        /** Whether Spark checks what is in a view by itself, on the way to the plan that the view is in. */
        private static boolean isWithinView() {
            for (StackTraceElement frame : new Throwable().getStackTrace()) {
                if (frame.getMethodName().indexOf("resolveViews") >= 0
                    || frame.getClassName().indexOf("ResolveRelations") >= 0
                    || frame.getClassName().indexOf("ViewResolution") >= 0) {
                    return true;
                }
            }
            return false;
        }

        /**
         * Whose session this is. On Spark Connect it is the client's; a copy of such a session, which Spark makes
         * for itself, has the user among its settings. On Spark Classic it is the thread's.
         */
        private String user() {
            String found = connectUser();
            if (found != null) {
                this.session.conf().set(USER, found);
                return found;
            }
            String ofThread = this.session.sparkContext().getLocalProperty(USER);
            String first = System.getenv("LOCAL_WORKSPACE_FIRST_USER");
            return ofThread != null ? ofThread : this.session.conf().get(USER, first);
        }

        private String connectUser() {
            try {
                Class service = Class.forName("org.apache.spark.sql.connect.service.SparkConnectService$");
                Object manager = call(service.getField("MODULE$").get(null), "sessionManager");
                Field field = manager.getClass().getDeclaredField("sessionStore");
                field.setAccessible(true);
                for (Object holder : ((Map) field.get(manager)).values()) {
                    if (call(holder, "session") == this.session) {
                        return (String) call(holder, "userId");
                    }
                }
                return null;
            } catch (ClassNotFoundException error) {
                return null;
            } catch (Exception error) {
                throw new IllegalStateException("whose session this is cannot be found out", error);
            }
        }

        private void look(LogicalPlan plan, Set asked) {
            String name = plan.getClass().getSimpleName();
            if (plan instanceof Command) {
                command(plan, name, asked);
            } else if (name.equals("View") && !((Boolean) call(plan, "isTempView")).booleanValue()) {
                need("SELECT", target(call(plan, "desc")), asked);
                return;
            } else if (name.equals("LogicalRelation") || name.equals("HiveTableRelation")
                || name.equals("DataSourceV2Relation") || name.equals("DataSourceV2ScanRelation")) {
                relation(plan, asked);
            } else if (name.indexOf("Stream") >= 0) {
                asked.add("refuse\tstreams of users who do not administer the metastore");
            }
            inside(plan, name, asked);
        }

        /** What is in a plan, and the plans of its subqueries. */
        private void inside(LogicalPlan plan, String name, Set asked) {
            List plans = new ArrayList();
            add(plans, plan.children());
            add(plans, plan.subqueries());
            if (plan instanceof Command) {
                add(plans, plan.innerChildren());
                for (Object field : new Object[] {"source", "query", "plan"}) {
                    Object found = call(plan, (String) field);
                    if (found instanceof LogicalPlan && !plans.contains(found)) {
                        plans.add(found);
                    }
                }
            }
            for (Object each : plans) {
                if (each instanceof LogicalPlan && ((LogicalPlan) each).resolved()) {
                    look((LogicalPlan) each, asked);
                }
            }
        }

        private void command(LogicalPlan plan, String name, Set asked) {
            if (name.equals("CreateNamespace") || CREATING.contains(name)) {
                creation(plan, name, asked);
            } else if (name.equals("DropNamespace")) {
                asked.add("need\tMANAGE\t" + namespace(call(plan, "namespace")));
            } else if (MANAGING.contains(name)) {
                need("MANAGE", subject(plan), asked);
            } else if (CHANGING.contains(name)) {
                need("MODIFY", subject(plan), asked);
            } else if (READING.contains(name)) {
                need("SELECT", subject(plan), asked);
            } else if (!FREE.contains(name)) {
                asked.add("refuse\t" + name + " by users who do not administer the metastore");
            }
        }

        private void creation(LogicalPlan plan, String name, Set asked) {
            String location = location(plan, name);
            if (location != null) {
                asked.add("need\tSELECT\tpath\t" + location);
                asked.add("need\tMODIFY\tpath\t" + location);
            }
            if (name.equals("CreateNamespace")) {
                Object resolved = call(plan, "name");
                asked.add("create\t" + namespace(resolved) + "\t" + exists(resolved) + "\tfalse");
                return;
            }
            Object subject = name.equals("CreateTable") || name.startsWith("Replace")
                || name.equals("CreateTableAsSelect") || name.equals("CreateViewCommand")
                ? call(plan, "name") : call(plan, "table");
            String table = target(subject);
            if (table == null) {
                return;
            }
            boolean replaces = REPLACING.contains(name)
                || (name.equals("CreateViewCommand") && ((Boolean) call(plan, "replace")).booleanValue());
            asked.add("create\t" + table + "\t" + exists(subject) + "\t" + replaces);
        }

        /** Where a statement has the files of what it makes; null where that is left to Spark. */
        private static String location(LogicalPlan plan, String name) {
            Object spec = call(plan, "tableSpec");
            Object storage = call(call(plan, "table"), "storage");
            Object given = spec != null ? call(spec, "location") : call(storage, "locationUri");
            if (given instanceof Option && ((Option) given).isDefined()) {
                return String.valueOf(((Option) given).get());
            }
            boolean isSchema = name.equals("CreateNamespace");
            Object among = isSchema ? call(plan, "properties") : call(spec, "options");
            if (!(among instanceof scala.collection.Map)) {
                return null;
            }
            Option found = ((scala.collection.Map) among).get(isSchema ? "location" : "path");
            return found.isDefined() ? String.valueOf(found.get()) : null;
        }

        /** Whether what a statement would make is there already. */
        private boolean exists(Object subject) {
            try {
                Object catalog = call(subject, "catalog");
                if (catalog instanceof TableCatalog && call(subject, "identifier") instanceof Identifier) {
                    return ((TableCatalog) catalog).tableExists((Identifier) call(subject, "identifier"));
                }
                if (catalog instanceof SupportsNamespaces) {
                    return ((SupportsNamespaces) catalog).namespaceExists(levels(call(subject, "namespace")));
                }
                Object name = subject instanceof CatalogTable ? ((CatalogTable) subject).identifier() : subject;
                return this.session.sessionState().catalog().tableExists((TableIdentifier) name);
            } catch (Exception error) {
                return false;
            }
        }

        private void relation(LogicalPlan plan, Set asked) {
            String table = target(plan);
            if (table != null) {
                need("SELECT", table, asked);
                return;
            }
            Object location = call(call(plan, "relation"), "location");
            if (location == null) {
                asked.add("refuse\ta source without a place by users who do not administer the metastore");
                return;
            }
            if (location.getClass().getSimpleName().equals("DeltaLogFileIndex")) {
                return;
            }
            boolean isOfDelta = location.getClass().getName().startsWith("org.apache.spark.sql.delta");
            Iterator roots = ((scala.collection.Iterable) call(location, "rootPaths")).iterator();
            while (roots.hasNext()) {
                asked.add("need\t" + (isOfDelta ? "SELECT|MODIFY" : "SELECT") + "\tpath\t" + roots.next());
            }
        }

        /** What a command is about, as kind and name; null for what has none, such as a temporary view. */
        private String subject(LogicalPlan plan) {
            for (Object field : new Object[] {"catalogTable", "table", "tableName", "target", "child", "relation",
                "name"}) {
                String found = target(call(plan, (String) field));
                if (found != null) {
                    return found;
                }
            }
            Object path = call(plan, "outputPath");
            Object options = call(plan, "options");
            if (path == null && options instanceof scala.collection.Map) {
                Option given = ((scala.collection.Map) options).get("path");
                path = given.isDefined() ? given.get() : null;
            }
            return path == null ? null : "path\t" + path;
        }

        private String target(Object one) {
            if (one instanceof Option) {
                return ((Option) one).isDefined() ? target(((Option) one).get()) : null;
            }
            if (one == null) {
                return null;
            }
            String name = one.getClass().getSimpleName();
            if (one instanceof CatalogTable) {
                return target(((CatalogTable) one).identifier());
            }
            if (one instanceof TableIdentifier) {
                TableIdentifier table = (TableIdentifier) one;
                if (table.database().isDefined() && "global_temp".equals(table.database().get())) {
                    return null;
                }
                return table.database().isDefined() ? "table\t" + Names.table(table) : null;
            }
            if (name.equals("ResolvedPersistentView")) {
                return identified(call(one, "catalog"), call(one, "identifier"));
            }
            if (name.equals("ResolvedIdentifier") || name.equals("ResolvedTable")) {
                return identified(call(one, "catalog"), call(one, "identifier"));
            }
            if (name.equals("DeltaTableV2")) {
                String found = target(call(one, "catalogTable"));
                return found != null ? found : "path\t" + call(one, "path");
            }
            if (name.equals("DataSourceV2Relation") || name.equals("DataSourceV2ScanRelation")) {
                Object relation = name.equals("DataSourceV2Relation") ? one : call(one, "relation");
                Object identifier = call(relation, "identifier");
                boolean isNamed = identifier instanceof Option && ((Option) identifier).isDefined();
                return isNamed ? identified(call(relation, "catalog"), ((Option) identifier).get())
                    : target(call(relation, "table"));
            }
            if (name.equals("LogicalRelation")) {
                return target(call(one, "catalogTable"));
            }
            if (name.equals("HiveTableRelation")) {
                return target(call(one, "tableMeta"));
            }
            if (one instanceof LogicalPlan && !(one instanceof Command)) {
                Iterator children = ((LogicalPlan) one).children().iterator();
                return children.hasNext() ? target(children.next()) : null;
            }
            return null;
        }

        private String identified(Object catalog, Object one) {
            Identifier identifier = (Identifier) one;
            String[] above = identifier.namespace();
            if (above.length == 1 && above[0].equals("delta") || above.length == 0) {
                return identifier.name().indexOf("/") >= 0 ? "path\t" + identifier.name() : null;
            }
            if (identifier.name().indexOf("/") >= 0) {
                return "path\t" + identifier.name();
            }
            return "table\t" + Names.table(nameOf(catalog), above[above.length - 1], identifier.name());
        }

        /** Kind and name of a schema, or of a catalog, which is told as a schema in the list of catalogs. */
        private String namespace(Object resolved) {
            String[] levels = levels(call(resolved, "namespace"));
            String last = levels[levels.length - 1];
            return levels[0].equals(Names.CATALOGS) ? "catalog\t" + last.toLowerCase()
                : "schema\t" + Names.schema(nameOf(call(resolved, "catalog")), last);
        }

        private static String nameOf(Object catalog) {
            Object one = catalog instanceof Some ? ((Some) catalog).get() : catalog;
            return one instanceof CatalogPlugin ? ((CatalogPlugin) one).name() : Names.OWN;
        }

        private void need(String privilege, String target, Set asked) {
            if (target != null) {
                asked.add("need\t" + privilege + "\t" + target);
            }
        }

        private String ask(String user, Set asked) {
            StringBuilder body = new StringBuilder(user);
            for (Object line : asked) {
                body.append("\n").append((String) line);
            }
            try {
                URL url = new URL(System.getenv("LOCAL_WORKSPACE_RIGHTS_URL"));
                HttpURLConnection connection = (HttpURLConnection) url.openConnection(java.net.Proxy.NO_PROXY);
                connection.setRequestMethod("POST");
                connection.setDoOutput(true);
                connection.setConnectTimeout(10000);
                connection.setReadTimeout(60000);
                connection.setRequestProperty("Content-Type", "text/plain");
                String token = System.getenv("LOCAL_WORKSPACE_RIGHTS_TOKEN");
                connection.setRequestProperty("Authorization", "Bearer " + token);
                OutputStream sent = connection.getOutputStream();
                sent.write(body.toString().getBytes("UTF-8"));
                sent.close();
                int status = connection.getResponseCode();
                if (status != 200) {
                    return "The workspace does not tell what " + user + " may do: it answers " + status + ".";
                }
                InputStream answer = connection.getInputStream();
                try {
                    return new String(answer.readAllBytes(), "UTF-8");
                } finally {
                    answer.close();
                }
            } catch (java.io.IOException error) {
                return "The workspace does not tell what " + user + " may do: " + error;
            }
        }
    }

    static void refuse(String reason) {
        String message = "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: " + reason;
        fail(message, new Some("INSUFFICIENT_PERMISSIONS"));
    }

    public static void fail(String message) {
        fail(message, Option.empty());
    }

    /** Throws, where the compiler knows of no exception that could be thrown. */
    private static void fail(String message, Option condition) {
        scala.collection.immutable.Map none = scala.collection.immutable.Map$.MODULE$.empty();
        new scala.util.Failure(new AnalysisException(message, Option.empty(), Option.empty(), Option.empty(),
            condition, none, new org.apache.spark.QueryContext[0])).get();
    }

    /** What a method without arguments gives, null where there is no such method. */
    public static Object call(Object one, String name) {
        if (one == null) {
            return null;
        }
        try {
            Method method = one.getClass().getMethod(name, new Class[0]);
            method.setAccessible(true);
            return method.invoke(one, new Object[0]);
        } catch (NoSuchMethodException error) {
            return null;
        } catch (Exception error) {
            throw new IllegalStateException(one.getClass().getName() + "." + name, error);
        }
    }

    public static void add(List plans, Object found) {
        Iterator each = ((scala.collection.Iterable) found).iterator();
        while (each.hasNext()) {
            plans.add(each.next());
        }
    }

    public static String[] levels(Object found) {
        List names = new ArrayList();
        add(names, found);
        return (String[]) names.toArray(new String[0]);
    }

    public static Set set(String names) {
        return new HashSet(Arrays.asList(names.split(" ")));
    }
}
