import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Sends what Java's HttpClient sends by itself: no Accept header, an offer to change to HTTP/2, and bodies of unknown
 * length in chunks. Arguments: base URL, file, path of the instance. Prints a line for each request: name, status,
 * media type, length.
 */
public class Client {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static String base;

    public static void main(String[] arguments) throws Exception {
        base = arguments[0];
        byte[] data = Files.readAllBytes(Path.of(arguments[1]));
        String instance = arguments[2];
        for (String name : new String[] {"store", "store-again"}) {
            send(name, post("application/dicom", HttpRequest.BodyPublishers.ofByteArray(data)));
        }
        ByteArrayOutputStream parts = new ByteArrayOutputStream();
        parts.write("--b\r\nContent-Type: application/dicom\r\n\r\n".getBytes());
        parts.write(data);
        parts.write("\r\n--b--\r\n".getBytes());
        String multipart = "multipart/related; type=\"application/dicom\"; boundary=b";
        byte[] body = parts.toByteArray();
        send("store-in-chunks",
            post(multipart, HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))));
        String[][] requests = {
            {"search", "/studies"},
            {"metadata", instance + "/metadata"},
            {"instance", instance},
            {"frame", instance + "/frames/1"},
            {"bulk-data", instance + "/bulkdata/7FE00010"},
            {"rendered", instance + "/rendered"},
            {"thumbnail", instance + "/thumbnail"},
            {"changes", "/changefeed"},
        };
        for (String[] request : requests) {
            send(request[0], HttpRequest.newBuilder(URI.create(base + request[1])).build());
        }
    }

    private static HttpRequest post(String mediaType, HttpRequest.BodyPublisher body) {
        return HttpRequest.newBuilder(URI.create(base + "/studies")).header("Content-Type", mediaType).POST(body).build();
    }

    private static void send(String name, HttpRequest request) throws Exception {
        HttpResponse<byte[]> response = CLIENT.send(request, HttpResponse.BodyHandlers.ofByteArray());
        String mediaType = response.headers().firstValue("Content-Type").orElse("").split(";")[0];
        System.out.println(name + " " + response.statusCode() + " " + mediaType + " " + response.body().length);
    }
}
