import dev.keyswap.KeySwap;
import dev.keyswap.Scheme;
import dev.keyswap.Source;
import dev.keyswap.okhttp.KeySwapOkHttp;
import java.util.List;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;

public class LivesThroughARotation {
    public static void main(String[] args) throws Exception {
        String api = System.getenv("API_URL");
        try (KeySwap keys = KeySwap.followBlocking(Source.endpoint(System.getenv("KEYSWAP_SET_URL")))) {
            OkHttpClient http = KeySwapOkHttp
                .keyswap(new OkHttpClient.Builder(), keys, Scheme.header("x-api-key"), List.of(api))
                .build();

            Request price = new Request.Builder().url(api + "/v1/price/BTC").build();
            for (int sent = 0; sent < 100; sent++) {
                try (Response response = http.newCall(price).execute()) {
                    System.out.println(keys.getCurrent().getId() + ": " + response.code() + " " + response.body().string());
                }
                Thread.sleep(50);
            }
        }
    }
}
