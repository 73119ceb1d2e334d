// Requests through OkHttp while the provider rotates the key, from Java. Environment: KEYSWAP_SET_URL,
// KEYSWAP_BOOTSTRAP and API_URL.
import dev.keyswap.KeySwap;
import dev.keyswap.KeySwapException;
import dev.keyswap.Scheme;
import dev.keyswap.Source;
import dev.keyswap.okhttp.KeySwapOkHttp;
import java.io.IOException;
import java.util.List;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;

public class LivesThroughARotation {
    public static void main(String[] args) throws IOException, InterruptedException {
        String api = System.getenv("API_URL");
        try (KeySwap keys = KeySwap.followBlocking(Source.endpoint(System.getenv("KEYSWAP_SET_URL")))) {
            keys.listen(System.out::println);
            OkHttpClient http = KeySwapOkHttp
                .keyswap(new OkHttpClient.Builder(), keys, Scheme.header("x-api-key"), List.of(api))
                .build();
            String began = keys.getCurrent().getId();
            while (keys.getCurrent().getId().equals(began)) {
                price(http, api);
                Thread.sleep(20);
            }
            System.out.println("from " + began + " to " + keys.getCurrent().getId() + ": " + price(http, api));
        } catch (KeySwapException failed) {
            System.exit(failed.isLasting() ? 2 : 1);
        }
    }

    private static String price(OkHttpClient http, String api) throws IOException {
        Request request = new Request.Builder().url(api + "/v1/price/BTC").build();
        try (Response response = http.newCall(request).execute()) {
            if (!response.isSuccessful()) throw new IOException("the API says " + response.code());
            return response.body().string();
        }
    }
}
