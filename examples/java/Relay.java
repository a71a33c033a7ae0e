import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/**
 * A backend's client of fido-relay with the JDK only (17.0.3 or later): opens ceremonies, waits for
 * their outcome, verifies the signed result. Copy this file; Main is an example of its use.
 */
public final class Relay {
    /** Seconds for which the relay may hold a long poll, and tolerance of a call beyond that. */
    private static final int WAIT_S = 25;
    private static final int SLACK_S = 10;
    /** Limit in seconds for fetching the keys, since verifications wait for it. */
    private static final int KEYS_S = 5;
    /** Seconds for which an opening is retried while the relay is unreachable. */
    private static final int OPEN_FOR_S = 30;
    /** Seconds to wait for an outcome after its deadline, since the relay may restart. */
    private static final int GRACE_S = 60;
    private static final Duration CALL = Duration.ofSeconds(WAIT_S + SLACK_S);
    /** Minimum age in seconds of the key set before it is fetched for an unknown key; its maximum age. */
    private static final int UNKNOWN_KEY_S = 60;
    private static final int KNOWN_KEY_S = 3600;

    /** Tolerated clock difference, in seconds. */
    public long leeway = 30;
    /** The maximum age of a success, in seconds. */
    public long maxAge = 300;
    /** The relay's public URL, which may differ from the one that the backend uses. */
    public String issuer;
    /**
     * "card" requires the card's own signature over the text of an approval; "relay" also accepts the
     * relay's, as with an external FIDO2 server.
     */
    public String txBinding = "card";

    private final HttpClient http = HttpClient.newHttpClient();
    private final String url;
    private final String apiKey;
    private final String clientId;
    private final ReentrantLock fetching = new ReentrantLock();
    private volatile Published published = new Published(Map.of(), 0);

    public Relay(String url, String apiKey, String clientId) {
        this.url = url.replaceFirst("/$", "");
        this.issuer = this.url;
        this.apiKey = apiKey;
        this.clientId = clientId;
    }

    /** Creates a client and fetches the client id. */
    public static Relay connect(String url, String apiKey) throws Failed, InterruptedException {
        Map<?, ?> self = new Relay(url, apiKey, null).call("GET", "/v1/clients/self", null, null, CALL);
        return new Relay(url, apiKey, (String) self.get("client_id"));
    }

    /** The relay refused, or was unreachable (status 0). */
    public static final class Failed extends Exception {
        public final int status;
        public final String code;
        private final long retryAfter;

        Failed(int status, String code, String detail, long retryAfter) {
            super(status + " " + code + ": " + detail);
            this.status = status;
            this.code = code;
            this.retryAfter = retryAfter;
        }

        /** Whether the same call may succeed later. */
        public boolean passes() {
            return status == 0 || status == 429 || status >= 500 && status != 501;
        }
    }

    /** The token does not prove what was opened. */
    public static final class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    /**
     * Opens a ceremony (the body of POST /v1/ceremonies) and returns what {@link #outcome} and
     * {@link #verify} need: keep it in the server-side session. Retries send the same key, so they
     * open no second one; to retry after a restart of your own, pass the same key and the same
     * ceremony, its client_nonce included.
     */
    public Map<String, Object> open(Map<String, Object> ceremony, String idempotencyKey)
            throws Failed, InterruptedException {
        Map<String, Object> opened = new HashMap<>(ceremony);
        opened.putIfAbsent("client_nonce", random());
        String body = Json.write(opened);
        long openedAt = now();
        Map<?, ?> answer = persist(openedAt + OPEN_FOR_S,
            () -> call("POST", "/v1/ceremonies", body, idempotencyKey, CALL));
        answer.forEach((name, value) -> opened.put((String) name, value));
        opened.put("opened_at", BigDecimal.valueOf(openedAt));
        return opened;
    }

    /** Waits for the end, across timeouts and restarts of the relay; seen gets each step once. */
    public Map<?, ?> outcome(Map<String, Object> opened, Consumer<String> seen)
            throws Failed, InterruptedException {
        long until = number(opened, "opened_at") + number(opened, "expires_in") + GRACE_S;
        Set<Long> reported = new HashSet<>();
        for (long since = 0; ; ) {
            String path = "/v1/ceremonies/" + opened.get("id") + "?wait=" + WAIT_S + "&since=" + since;
            Map<?, ?> view = persist(until, () -> call("GET", path, null, null, CALL));
            for (Object entry : (List<?>) view.get("progress")) {
                if (reported.add(number((Map<?, ?>) entry, "seq"))) {
                    seen.accept((String) ((Map<?, ?>) entry).get("step"));
                }
            }
            since = number(view, "seq");
            if (!"pending".equals(view.get("status"))) {
                return view;
            }
            if (now() > until) {
                throw new Failed(0, "unknown", "the ceremony does not end", 0);
            }
        }
    }

    /** Cancels a ceremony. One that has ended keeps its outcome. */
    public void cancel(Map<String, Object> opened) throws Failed, InterruptedException {
        try {
            call("DELETE", "/v1/ceremonies/" + opened.get("id"), null, null, CALL);
        } catch (Failed failed) {
            if (!failed.code.equals("already_closed")) {
                throw failed;
            }
        }
    }

    /**
     * Returns the claims of a token ("result" of the outcome) that proves the success of what was
     * opened. Act once for each jti.
     *
     * @param now seconds since 1970
     * @throws Failed if the keys cannot be fetched: then try again
     */
    public Map<?, ?> verify(String token, Map<String, Object> opened, long now)
            throws Refused, Failed, InterruptedException {
        String[] parts = String.valueOf(token).split("\\.", -1);
        require(parts.length == 3, "not a compact JWS");
        Map<?, ?> header = object(parts[0]);
        require("ES256".equals(header.get("alg"))
            && "ceremony-result+jwt".equals(header.get("typ"))
            && !header.containsKey("crit"), "another kind of token");
        require(header.get("kid") instanceof String, "no key id");
        try {
            Signature verifier = Signature.getInstance("SHA256withECDSAinP1363Format");
            verifier.initVerify(key(header.get("kid"), now));
            verifier.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            require(verifier.verify(decode(parts[2])), "the signature does not verify");
        } catch (GeneralSecurityException malformed) {
            throw new Refused("the signature does not verify");
        }

        Map<?, ?> claims = object(parts[1]);
        boolean approves = opened.get("transaction") != null;
        Map<String, Object> expected = new HashMap<>();
        expected.put("iss", issuer);
        expected.put("aud", clientId);
        expected.put("jti", opened.get("id"));
        expected.put("sub", opened.get("username"));
        expected.put("client_nonce", opened.get("client_nonce"));
        expected.put("ceremony_type", opened.get("type"));
        expected.put("outcome", "succeeded");
        expected.put("binding", opened.getOrDefault("binding", "code"));
        expected.put("tx_hash", approves ? transactionHash((Map<?, ?>) opened.get("transaction")) : null);
        for (Map.Entry<String, Object> claim : expected.entrySet()) {
            require(Objects.equals(claims.get(claim.getKey()), claim.getValue()),
                "another " + claim.getKey());
        }
        for (String time : List.of("iat", "exp", "auth_time")) {
            require(claims.get(time) instanceof BigDecimal, "times are numbers");
        }
        long decided = number(claims, "auth_time");
        require(number(claims, "iat") <= now + leeway && now < number(claims, "exp") + leeway,
            "not valid now");
        require(decided >= number(opened, "opened_at") - leeway && decided <= now + leeway,
            "decided at another time");
        require(now - decided <= maxAge, "decided too long ago");
        // Two factors: omit this only if your policy accepts a card without its PIN.
        require(claims.get("amr") instanceof List<?> amr && amr.contains("pin"),
            "the card did not verify its user");
        Object vouches = claims.get("tx_binding");
        require(approves ? "card".equals(vouches) || txBinding.equals(vouches) : vouches == null,
            "the words are not vouched for as they must be");
        return claims;
    }

    /**
     * SHA-256 of the transaction's canonical JSON (RFC 8785), base64url: names in order. Compute it
     * from what you are about to execute.
     */
    public static String transactionHash(Map<?, ?> transaction) {
        List<Object> fields = new ArrayList<>();
        for (Object field : (List<?>) transaction.get("fields")) {
            fields.add(new TreeMap<>((Map<?, ?>) field));
        }
        Map<String, Object> canonical = new TreeMap<>();
        canonical.put("title", transaction.get("title"));
        canonical.put("fields", fields);
        try {
            byte[] text = Json.write(canonical).getBytes(StandardCharsets.UTF_8);
            return encode(MessageDigest.getInstance("SHA-256").digest(text));
        } catch (GeneralSecurityException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** A fresh nonce or idempotency key. */
    public static String random() {
        byte[] bytes = new byte[16];
        new SecureRandom().nextBytes(bytes);
        return encode(bytes);
    }

    /** The published keys by their ids, and when they were fetched. */
    private record Published(Map<Object, Map<?, ?>> keys, long at) {
        boolean isFreshFor(Object kid, long now) {
            return now - at < (keys.containsKey(kid) ? KNOWN_KEY_S : UNKNOWN_KEY_S);
        }
    }

    /** The published key of this id. The set is fetched again for an unknown one. */
    private PublicKey key(Object kid, long now)
            throws GeneralSecurityException, Refused, Failed, InterruptedException {
        boolean asked = !published.isFreshFor(kid, now) && fetch(kid, now);
        Map<?, ?> jwk = published.keys().getOrDefault(kid, Map.of());
        if (jwk.isEmpty() && !asked) {
            // It may have been published after the set was fetched.
            throw new Failed(0, "unknown_key", "the keys were fetched a moment ago", 0);
        }
        require("EC".equals(jwk.get("kty")) && "P-256".equals(jwk.get("crv")), "no such key");
        AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
        curve.init(new ECGenParameterSpec("secp256r1"));
        ECPoint point = new ECPoint(
            new BigInteger(1, decode((String) jwk.get("x"))),
            new BigInteger(1, decode((String) jwk.get("y"))));
        return KeyFactory.getInstance("EC").generatePublic(
            new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class)));
    }

    /** Fetches the keys, unless another thread does meanwhile. */
    private boolean fetch(Object kid, long now) throws Failed, InterruptedException {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(KEYS_S);
        if (!fetching.tryLock(KEYS_S, TimeUnit.SECONDS)) {
            throw new Failed(0, "unreachable", "the keys are being fetched", 0);
        }
        try {
            if (published.isFreshFor(kid, now)) {
                return false;
            }
            Duration left = Duration.ofNanos(Math.max(1, until - System.nanoTime()));
            Map<Object, Map<?, ?>> keys = new HashMap<>();
            for (Object jwk : (List<?>) call("GET", "/.well-known/jwks.json", null, null, left).get("keys")) {
                keys.put(((Map<?, ?>) jwk).get("kid"), (Map<?, ?>) jwk);
            }
            published = new Published(keys, now);
            return true;
        } catch (ClassCastException | NullPointerException foreign) {
            throw new Failed(0, "unreachable", "no set of keys", 0);
        } finally {
            fetching.unlock();
        }
    }

    private interface Call {
        Map<?, ?> run() throws Failed, InterruptedException;
    }

    /** Retries a call that may succeed later, until a time in seconds. */
    private static Map<?, ?> persist(long until, Call call) throws Failed, InterruptedException {
        for (long most = 1000; ; most = Math.min(2 * most, 8000)) {
            try {
                return call.run();
            } catch (Failed failed) {
                long wait = failed.retryAfter > 0
                    ? 1000 * failed.retryAfter : ThreadLocalRandom.current().nextLong(most);
                if (!failed.passes() || System.currentTimeMillis() + wait > 1000 * until) {
                    throw failed;
                }
                Thread.sleep(wait);
            }
        }
    }

    private Map<?, ?> call(String method, String path, String body, String idempotencyKey, Duration most)
            throws Failed, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path))
            .timeout(most)
            .header("Authorization", "Bearer " + apiKey)
            .header("Content-Type", "application/json")
            .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body));
        if (idempotencyKey != null) {
            request.header("Idempotency-Key", idempotencyKey);
        }
        HttpResponse<String> answer;
        Map<?, ?> json;
        try {
            answer = http.send(request.build(), BodyHandlers.ofString());
        } catch (IOException unreachable) {
            throw new Failed(0, "unreachable", String.valueOf(unreachable.getMessage()), 0);
        }
        boolean done = answer.statusCode() / 100 == 2;
        try {
            json = (Map<?, ?>) Objects.requireNonNull(Json.parse(answer.body()));
        } catch (IllegalArgumentException | ClassCastException | NullPointerException foreign) {
            // Anything but a problem (RFC 9457) is a proxy's answer.
            json = Map.of();
        }
        if (done && !json.isEmpty()) {
            return json;
        }
        String wait = answer.headers().firstValue("retry-after").orElse("");
        throw new Failed(done ? 0 : answer.statusCode(),
            json.get("code") instanceof String code ? code : "unknown",
            String.valueOf(json.get(json.containsKey("detail") ? "detail" : "title")),
            wait.matches("[0-9]{1,6}") ? Long.parseLong(wait) : 0);
    }

    private static Map<?, ?> object(String part) throws Refused {
        try {
            return (Map<?, ?>) Objects.requireNonNull(
                Json.parse(new String(decode(part), StandardCharsets.UTF_8)));
        } catch (IllegalArgumentException | ClassCastException | NullPointerException foreign) {
            throw new Refused("not a JSON object");
        }
    }

    /** Canonical base64url: the JDK's decoder ignores padding and spare bits. */
    private static byte[] decode(String part) throws Refused {
        try {
            byte[] bytes = Base64.getUrlDecoder().decode(part);
            require(encode(bytes).equals(part), "not base64url");
            return bytes;
        } catch (IllegalArgumentException foreign) {
            throw new Refused("not base64url");
        }
    }

    private static String encode(byte[] bytes) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
    }

    private static long number(Map<?, ?> map, String name) {
        return ((BigDecimal) map.get(name)).longValue();
    }

    private static long now() {
        return System.currentTimeMillis() / 1000;
    }

    private static void require(boolean holds, String otherwise) throws Refused {
        if (!holds) {
            throw new Refused(otherwise);
        }
    }
}
