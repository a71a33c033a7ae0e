import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Verifies result tokens of fido-relay with what the JDK has (17.0.3 or later), without a library.
 * {@link #verifyResult} is the part to take; {@link Json} takes the place of your JSON library, and main
 * reads questions from standard input, see README.md.
 */
public final class Verify {
    private static final long LEEWAY_S = 5;

    /** Claims that must be exactly what was sent; one that was not sent must not be there. */
    private static final List<String> COMPARED = List.of(
        "iss", "aud", "jti", "sub", "client_nonce", "ceremony_type", "binding", "tx_hash");

    /** The token does not prove what was expected. */
    public static final class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    /**
     * The claims of a token that proves {@code expected}.
     *
     * @param token the {@code result} of {@code GET /v1/ceremonies/{id}}
     * @param jwks the JWK set of the relay, from {@code /.well-known/jwks.json}
     * @param expected the values of {@link #COMPARED}, from what was opened
     * @param now seconds since 1970
     */
    public static Map<?, ?> verifyResult(
            String token, Map<?, ?> jwks, Map<?, ?> expected, long now) throws Refused {
        String[] parts = token.split("\\.", -1);
        require(parts.length == 3, "not a compact JWS");
        Map<?, ?> header = object(parts[0]);
        require("ES256".equals(header.get("alg"))
            && "ceremony-result+jwt".equals(header.get("typ"))
            && !header.containsKey("crit"), "another kind of token");
        try {
            Signature verifier = Signature.getInstance("SHA256withECDSAinP1363Format");
            verifier.initVerify(key(jwks, header.get("kid")));
            verifier.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            require(verifier.verify(decode(parts[2])), "the signature does not verify");
        } catch (GeneralSecurityException malformed) {
            throw new Refused("the signature does not verify");
        }

        Map<?, ?> claims = object(parts[1]);
        for (String name : COMPARED) {
            require(Objects.equals(claims.get(name), expected.get(name)), "another " + name);
        }
        require("succeeded".equals(claims.get("outcome")), "not a success");
        require(claims.get("iat") instanceof BigDecimal iat
            && claims.get("exp") instanceof BigDecimal exp
            && iat.longValue() <= now + LEEWAY_S
            && now < exp.longValue() + LEEWAY_S, "not valid now");
        // Two factors: leave this out only if your policy takes a card without its PIN.
        require(claims.get("amr") instanceof List<?> amr && amr.contains("pin"),
            "the card did not verify its user");
        return claims;
    }

    private static PublicKey key(Map<?, ?> jwks, Object kid)
            throws GeneralSecurityException, Refused {
        for (Object entry : (List<?>) jwks.get("keys")) {
            Map<?, ?> jwk = (Map<?, ?>) entry;
            if (Objects.equals(jwk.get("kid"), kid) && "EC".equals(jwk.get("kty"))
                    && "P-256".equals(jwk.get("crv"))) {
                AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
                curve.init(new ECGenParameterSpec("secp256r1"));
                ECPoint point = new ECPoint(
                    new BigInteger(1, decode((String) jwk.get("x"))),
                    new BigInteger(1, decode((String) jwk.get("y"))));
                return KeyFactory.getInstance("EC").generatePublic(
                    new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class)));
            }
        }
        throw new Refused("no such key");
    }

    private static Map<?, ?> object(String part) throws Refused {
        String text = new String(decode(part), StandardCharsets.UTF_8);
        if (Json.parse(text) instanceof Map<?, ?> object) {
            return object;
        }
        throw new Refused("not a JSON object");
    }

    /** Base64url in its one spelling: the JDK's decoder passes over padding and spare bits. */
    private static byte[] decode(String part) throws Refused {
        try {
            byte[] bytes = Base64.getUrlDecoder().decode(part);
            String spelt = Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
            require(spelt.equals(part), "not base64url");
            return bytes;
        } catch (IllegalArgumentException foreign) {
            throw new Refused("not base64url");
        }
    }

    private static void require(boolean holds, String otherwise) throws Refused {
        if (!holds) {
            throw new Refused(otherwise);
        }
    }

    public static void main(String[] none) throws Exception {
        BufferedReader questions =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = questions.readLine(); line != null; line = questions.readLine()) {
            Map<?, ?> question = (Map<?, ?>) Json.parse(line);
            long now = question.get("now") instanceof BigDecimal given
                ? given.longValue() : System.currentTimeMillis() / 1000;
            try {
                verifyResult((String) question.get("token"), (Map<?, ?>) question.get("jwks"),
                    (Map<?, ?>) question.get("expected"), now);
                System.out.println("ok");
            } catch (Refused refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }
    }

    /** RFC 8259, strictly, without exponents: maps, lists, strings, BigDecimal, Boolean, null. */
    static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object parse(String text) throws Refused {
            Json json = new Json(text);
            Object value = json.value(0);
            json.blanks();
            require(json.at == text.length(), "not JSON");
            return value;
        }

        private Object value(int depth) throws Refused {
            require(depth < 16, "JSON too deep");
            blanks();
            switch (peek()) {
                case '{': {
                    Map<String, Object> object = new LinkedHashMap<>();
                    for (at++; !closes('}', object.isEmpty()); ) {
                        blanks();
                        String name = string();
                        require(!object.containsKey(name), "a name twice");
                        blanks();
                        take(':');
                        object.put(name, value(depth + 1));
                    }
                    return object;
                }
                case '[': {
                    List<Object> list = new ArrayList<>();
                    for (at++; !closes(']', list.isEmpty()); ) {
                        list.add(value(depth + 1));
                    }
                    return list;
                }
                case '"':
                    return string();
                default:
                    return literal();
            }
        }

        /** Whether the container ends here; otherwise takes the comma before its next element. */
        private boolean closes(char end, boolean first) throws Refused {
            blanks();
            if (peek() == end) {
                at++;
                return true;
            }
            if (!first) {
                take(',');
            }
            return false;
        }

        private String string() throws Refused {
            take('"');
            StringBuilder read = new StringBuilder();
            for (char c = next(); c != '"'; c = next()) {
                require(c >= ' ', "not JSON");
                if (c != '\\') {
                    read.append(c);
                    continue;
                }
                char escape = next();
                int known = "\"\\/bfnrt".indexOf(escape);
                if (known >= 0) {
                    read.append("\"\\/\b\f\n\r\t".charAt(known));
                } else {
                    require(escape == 'u' && at + 4 <= text.length()
                        && text.substring(at, at + 4).matches("[0-9a-fA-F]{4}"), "not JSON");
                    read.append((char) Integer.parseInt(text.substring(at, at += 4), 16));
                }
            }
            return read.toString();
        }

        private Object literal() throws Refused {
            int start = at;
            while (at < text.length() && "+-.0123456789Eaeflnrstu".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            String word = text.substring(start, at);
            if (Arrays.asList("true", "false").contains(word)) {
                return Boolean.valueOf(word);
            }
            require(word.equals("null")
                || word.matches("-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?"), "not JSON");
            return word.equals("null") ? null : new BigDecimal(word);
        }

        private void blanks() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }

        private char peek() throws Refused {
            require(at < text.length(), "not JSON");
            return text.charAt(at);
        }

        private char next() throws Refused {
            char c = peek();
            at++;
            return c;
        }

        private void take(char expected) throws Refused {
            require(next() == expected, "not JSON");
        }
    }
}
