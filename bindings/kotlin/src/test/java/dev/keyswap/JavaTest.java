package dev.keyswap;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import com.sun.net.httpserver.HttpServer;
import dev.keyswap.okhttp.KeySwapOkHttp;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
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
        Source source = Source.of(() -> new NewSet(new NewCredential("k1", "the-key")));
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
    void aThreadMayBlock() throws Exception {
        BlockingQueue<Event> told = new LinkedBlockingQueue<>();
        AtomicInteger calls = new AtomicInteger();
        Source source = Source.of(() -> new NewSet(new NewCredential("k" + calls.incrementAndGet(), "the-key")));
        Policy policy = new Policy();
        policy.setFetchFloor(Duration.ofMillis(50));
        policy.setFetchFloorMin(Duration.ofMillis(50));
        try (KeySwap keys = KeySwap.followBlocking(source, policy, "trading", Duration.ofSeconds(10));
                AutoCloseable listening = keys.listen(event -> {
                    told.add(event);
                    throw new IllegalStateException("which ends nothing");
                })) {
            keys.readyBlocking();
            String began = keys.getCurrent().getId();
            keys.refreshBlocking(Duration.ofSeconds(10));
            assertNotEquals(began, keys.getCurrent().getId());
            assertEquals("fetched", told.poll(10, TimeUnit.SECONDS).getName());
            assertEquals("swapped", told.poll(10, TimeUnit.SECONDS).getName());
            assertTrue(keys.getStats().getAge().compareTo(Duration.ofSeconds(10)) < 0);
            keys.shutdownBlocking();
            assertThrows(KeySwapException.Closed.class, keys::readyBlocking);
        }
    }

    @Test
    void whatFailsIsCaught() throws InterruptedException {
        try {
            Source source = Source.of(() -> { throw new IllegalStateException("secret"); });
            KeySwap.followBlocking(source, null, null, Duration.ofSeconds(10)).close();
            fail("it has nothing to follow");
        } catch (KeySwapException failed) {
            assertEquals("source_failed", failed.getCode());
            assertNull(failed.getRetryAfter());
            assertFalse(failed.getMessage().contains("secret"));
        }
    }

    @Test
    void aWaitThatIsInterruptedEnds() throws Exception {
        Source source = Source.of(() -> {
            Thread.sleep(60_000);
            return null;
        });
        try (KeySwap keys = KeySwap.start(source)) {
            Thread.currentThread().interrupt();
            assertThrows(InterruptedException.class, keys::readyBlocking);
        }
    }

    @Test
    void anAttemptDrivesAnyLibrary() throws Exception {
        Source source = Source.of(() -> new NewSet(new NewCredential("k1", "the-key")));
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
    void whatIsOptionalMayBeLeftOut() throws Exception {
        Source.endpoint("https://keys.example.com/sets/a");
        assertThrows(
            IllegalArgumentException.class,
            () -> Source.endpoint("https://keys.example.com/sets/a", endpoint -> endpoint.clientCertificate("not a certificate")));
        Source.file("/var/run/secrets/trading");
        Source.storage(() -> null);
        new Classifier(Set.of(401, 403), response -> Verdict.REJECTED);
        Logger.install(null);
        try (KeySwap keys = KeySwap.start(Source.env("KEYSWAP_TEST_THAT_IS_NOT_SET"), new Policy())) {
            assertThrows(KeySwapException.class, keys::getCurrent);
        }
    }
}
