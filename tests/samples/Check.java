import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Asks verification of examples/java: one question a line, one answer a line. */
public final class Check {
    @SuppressWarnings("unchecked")
    public static void main(String[] none) throws Exception {
        Map<String, Relay> relays = new HashMap<>();
        BufferedReader questions =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = questions.readLine(); line != null; line = questions.readLine()) {
            Map<?, ?> question = (Map<?, ?>) Json.parse(line);
            String url = (String) question.get("url");
            String client = (String) question.get("client_id");
            String issuer = (String) question.get("issuer");
            String binding = (String) question.get("tx_binding");
            Relay relay = relays.computeIfAbsent(
                String.join(" ", url, client, issuer, binding), name -> new Relay(url, "rk_x", client));
            relay.issuer = issuer;
            relay.txBinding = binding;
            long now = ((BigDecimal) question.get("now")).longValue();
            try {
                relay.verify((String) question.get("token"),
                    (Map<String, Object>) question.get("opened"), now);
                System.out.println("ok");
            } catch (Relay.Refused refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }
    }
}
