import java.io.File;
import java.io.FileReader;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.FileAttribute;
import java.util.Map;
import org.codehaus.janino.SimpleCompiler;

/**
 * Compiles into the first argument, a folder, the others, sources, with the compiler that Spark carries; each may
 * use those before it.
 */
public final class Compile {
    public static void main(String[] arguments) throws Exception {
        for (int each = 1; each < arguments.length; each++) {
            compile(arguments[0], arguments[each]);
        }
    }

    private static void compile(String folder, String file) throws Exception {
        SimpleCompiler compiler = new SimpleCompiler();
        compiler.setTargetVersion(8); // without it no static method of an interface is called
        URL[] before = {new File(folder).toURI().toURL()};
        compiler.setParentClassLoader(new URLClassLoader(before, Compile.class.getClassLoader()));
        FileReader source = new FileReader(file);
        try {
            compiler.cook(file, source);
        } finally {
            source.close();
        }
        for (Object each : compiler.getBytecodes().entrySet()) {
            Map.Entry entry = (Map.Entry) each;
            String name = ((String) entry.getKey()).replace('.', '/') + ".class";
            Path written = Paths.get(folder, new String[] {name});
            Files.createDirectories(written.getParent(), new FileAttribute[0]);
            Files.write(written, (byte[]) entry.getValue(), new OpenOption[0]);
        }
    }
}
