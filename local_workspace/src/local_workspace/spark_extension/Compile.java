import java.io.FileReader;
import java.nio.file.Files;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.FileAttribute;
import java.util.Map;
import org.codehaus.janino.SimpleCompiler;

/** Compiles the first argument, a source, into the second, a folder, with the compiler that Spark carries. */
public final class Compile {
    public static void main(String[] arguments) throws Exception {
        SimpleCompiler compiler = new SimpleCompiler();
        FileReader source = new FileReader(arguments[0]);
        try {
            compiler.cook(arguments[0], source);
        } finally {
            source.close();
        }
        for (Object each : compiler.getBytecodes().entrySet()) {
            Map.Entry entry = (Map.Entry) each;
            String name = ((String) entry.getKey()).replace('.', '/') + ".class";
            Path file = Paths.get(arguments[1], new String[] {name});
            Files.createDirectories(file.getParent(), new FileAttribute[0]);
            Files.write(file, (byte[]) entry.getValue(), new OpenOption[0]);
        }
    }
}
