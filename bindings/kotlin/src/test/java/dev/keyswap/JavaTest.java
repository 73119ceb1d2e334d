package dev.keyswap;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.sun.net.httpserver.HttpServer;
import dev.keyswap.okhttp.KeySwapOkHttp;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.Set;
import kotlin.Unit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import org.junit.jupiter.api.Test;

/** What a Java program writes: no `Companion`, and no argument that it does not care for. */
class JavaTest {
    @Test
    void aRequestCarriesTheKey() throws Exception {
        HttpServer api = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        api.createContext("/", exchange -> {
            byte[] key = exchange.getRequestHeaders().getFirst("x-api-key").getBytes();
            exchange.sendResponseHeaders(200, key.length);
            exchange.getResponseBody().write(key);
            exchange.close();
        });
        api.start();
        String origin = "http://127.0.0.1:" + api.getAddress().getPort();
        Source source = Source.of(done -> new NewSet(new NewCredential("k1", "the-key")));
        try (KeySwap keys = KeySwap.start(source)) {
            OkHttpClient http = KeySwapOkHttp
                .keyswap(new OkHttpClient.Builder(), keys, Scheme.header("x-api-key"), List.of(origin))
                .build();
            Request once = KeySwapOkHttp.resend(new Request.Builder().url(origin + "/price"), false).build();
            try (Response response = http.newCall(once).execute()) {
                assertEquals("the-key", response.body().string());
            }
            assertEquals("the-key", keys.getCurrent().reveal());
            keys.hint();
        } finally {
            api.stop(0);
        }
    }

    @Test
    void anAttemptDrivesAnyLibrary() throws Exception {
        Source source = Source.of(done -> new NewSet(new NewCredential("k1", "the-key")));
        Scheme scheme = Scheme.signing((credential, request) -> new Signature(Map.of("x-signed", credential.reveal() + request.getMethod())));
        String url = "https://api.example.com/price";
        try (KeySwap keys = KeySwap.start(source);
                Attempt attempt = new Authorizer(keys, scheme, List.of("https://api.example.com")).begin(url)) {
            if (attempt.getStep() == Step.WAIT) attempt.awaitBlocking();
            assertEquals(Map.of("x-signed", "the-keyGET"), attempt.apply("GET", url).reveal());
            assertEquals(Step.RETURN, attempt.response(200, Map.of("content-type", List.of("text/plain"))));
        }
    }

    @Test
    void whatIsOptionalMayBeLeftOut() {
        Source.endpoint("https://keys.example.com/sets/a");
        assertThrows(
            KeySwapException.InvalidConfig.class,
            () -> Source.endpoint("https://keys.example.com/sets/a", endpoint -> {
                endpoint.clientCertificate("not a certificate");
                return Unit.INSTANCE;
            }));
        Source.file("/var/run/secrets/trading");
        Source.storage(() -> null);
        new Classifier(Set.of(401, 403), response -> Verdict.REJECTED);
        Logger.install(null);
        try (KeySwap keys = KeySwap.start(Source.env("KEYSWAP_TEST_THAT_IS_NOT_SET"), new Policy())) {
            assertThrows(KeySwapException.class, keys::getCurrent);
        }
    }
}
