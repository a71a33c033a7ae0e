import java.util.List;
import java.util.Map;

/**
 * Signs a user in, then has a payment approved. Where it prints, a web application renders a page. The
 * user needs a phone and a registered card, the API key the scopes
 * ceremony:auth,ceremony:approve,ceremony:read,prior_auth:assert.
 *
 * <pre>
 *   export FIDO_RELAY_URL=http://127.0.0.1:8080 FIDO_RELAY_API_KEY=rk_…
 *   javac -encoding UTF-8 -d out *.java &amp;&amp; java -cp out Main ada@example.com
 * </pre>
 */
public final class Main {
    private static Map<?, ?> run(Relay relay, Map<String, Object> ceremony) throws Exception {
        Map<String, Object> opened = relay.open(ceremony, Relay.random());
        Object type = ceremony.get("type");
        System.out.println(type + ": type this code into the app: " + opened.get("code"));
        Map<?, ?> view = relay.outcome(opened, step -> System.out.println("  " + step));
        if (!"succeeded".equals(view.get("status"))) {
            throw new IllegalStateException(view.get("status") + " (" + view.get("reason") + ")");
        }
        long now = System.currentTimeMillis() / 1000;
        Map<?, ?> claims = relay.verify((String) view.get("result"), opened, now);
        System.out.println(type + ": succeeded, verified for " + claims.get("sub"));
        return claims;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 1) {
            System.err.println("usage: java -cp out Main USERNAME");
            System.exit(2);
        }
        Relay relay = Relay.connect(System.getenv("FIDO_RELAY_URL"), System.getenv("FIDO_RELAY_API_KEY"));
        relay.issuer = System.getenv().getOrDefault("FIDO_RELAY_ISSUER", relay.issuer);
        String username = arguments[0];
        run(relay, Map.of("type", "authentication", "username", username,
            "message", "Sign in to Example Bank", "prior_auth", "password"));
        Map<String, Object> transaction = Map.of(
            "title", "Payment to Grace “Amazing” Hopper",
            "fields", List.of(
                Map.of("label", "Amount", "value", "120.00 €"),
                Map.of("label", "Reference", "value", "Rent \\ \"May\" <2>")));
        Map<?, ?> claims = run(relay, Map.of("type", "approval", "username", username,
            "transaction", transaction, "prior_auth", "session"));
        System.out.println("the payment is vouched for by the " + claims.get("tx_binding"));
    }
}
