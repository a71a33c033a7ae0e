import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CeremoniesApi;
import org.openapitools.client.model.CeremonyType;
import org.openapitools.client.model.OpenCeremony;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.Status;

/** The Java client of openapi-generator: opens, waits, and reads two errors. */
class Main {
    interface Call {
        void run() throws ApiException;
    }

    static ApiClient client(String key) {
        var client = new ApiClient();
        client.updateBaseUri(System.getenv("RELAY"));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
        return client;
    }

    static String code(Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException error) {
            var problem = ApiClient.createDefaultObjectMapper().readValue(error.getResponseBody(), Problem.class);
            return problem.getCode();
        }
        throw new AssertionError("not refused");
    }

    public static void main(String[] arguments) throws Exception {
        var order = new OpenCeremony().type(CeremonyType.REGISTRATION).username(System.getenv("WHO"));
        var refused = code(() -> new CeremoniesApi(client("rk_wrong")).openCeremony(order, null));
        var mine = new CeremoniesApi(client(System.getenv("KEY")));
        var opened = mine.openCeremony(order, null);
        System.out.println(opened.getId() + " " + opened.getCode());
        var view = mine.readCeremony(opened.getId(), null, null);
        while (view.getStatus() == Status.PENDING) {
            view = mine.readCeremony(opened.getId(), 25L, view.getSeq());
        }
        if (view.getResult().split("\\.").length != 3) throw new AssertionError("no result");
        var late = code(() -> mine.cancelCeremony(opened.getId()));
        System.out.println(view.getStatus() + " " + refused + " " + late);
    }
}
