package local_workspace;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.catalyst.analysis.NoSuchNamespaceException;
import org.apache.spark.sql.catalyst.analysis.ResolvedNamespace;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.rules.Rule;
import org.apache.spark.sql.catalyst.trees.TreeNode;
import org.apache.spark.sql.connector.catalog.NamespaceChange;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;
import scala.runtime.AbstractFunction1;

/** Leaves out of a list of the schemas of Spark's own catalog those that stand for another's. */
public final class Hiding extends Rule {
    /** Makes the rule of one session. */
    public static final class Builder extends AbstractFunction1 {
        public Object apply(Object session) {
            return new Hiding();
        }
    }

    public TreeNode apply(TreeNode plan) {
        boolean isList = plan.getClass().getSimpleName().startsWith("ShowNamespaces");
        return isList ? plan.mapChildren(new Own()) : plan;
    }

    /** Puts the shorter list where Spark's own catalog was. */
    public static final class Own extends AbstractFunction1 {
        public Object apply(Object child) {
            if (!(child instanceof ResolvedNamespace)) {
                return child;
            }
            ResolvedNamespace found = (ResolvedNamespace) child;
            boolean isOwn = found.catalog().name().equals(Names.OWN) && !(found.catalog() instanceof Shown);
            return isOwn ? new ResolvedNamespace(new Shown((SupportsNamespaces) found.catalog()), found.namespace(),
                found.metadata()) : child;
        }
    }

    /** Spark's own catalog, as it is shown. */
    public static final class Shown implements SupportsNamespaces {
        private final SupportsNamespaces all;

        Shown(SupportsNamespaces all) {
            this.all = all;
        }

        public void initialize(String name, CaseInsensitiveStringMap options) {}

        public String name() {
            return this.all.name();
        }

        public String[][] listNamespaces() throws NoSuchNamespaceException {
            List shown = new ArrayList();
            for (String[] each : this.all.listNamespaces()) {
                if (Names.levels(each[0]) == null) {
                    shown.add(each);
                }
            }
            return (String[][]) shown.toArray(new String[0][]);
        }

        public String[][] listNamespaces(String[] above) throws NoSuchNamespaceException {
            return above.length == 0 ? this.listNamespaces() : this.all.listNamespaces(above);
        }

        public Map loadNamespaceMetadata(String[] levels) throws NoSuchNamespaceException {
            return this.all.loadNamespaceMetadata(levels);
        }

        public void createNamespace(String[] levels, Map details) {
            throw new UnsupportedOperationException("only for lists");
        }

        public void alterNamespace(String[] levels, NamespaceChange[] changes) {
            throw new UnsupportedOperationException("only for lists");
        }

        public boolean dropNamespace(String[] levels, boolean cascade) {
            throw new UnsupportedOperationException("only for lists");
        }
    }
}
