import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A strict parser of RFC 8259 without exponents: maps, lists, strings, BigDecimal, Boolean, null. Use
 * your JSON library instead; the JDK has none.
 */
final class Json {
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** @throws IllegalArgumentException if it is not JSON */
    static Object parse(String text) {
        Json json = new Json(text);
        Object value = json.value(0);
        json.blanks();
        require(json.at == text.length(), "not JSON");
        return value;
    }

    private Object value(int depth) {
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

    /** Whether the container ends here; otherwise consumes the comma before its next element. */
    private boolean closes(char end, boolean first) {
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

    private String string() {
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

    private Object literal() {
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

    private char peek() {
        require(at < text.length(), "not JSON");
        return text.charAt(at);
    }

    private char next() {
        char c = peek();
        at++;
        return c;
    }

    private void take(char expected) {
        require(next() == expected, "not JSON");
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    /** Encodes maps, lists, strings, numbers, booleans and null, without blanks. */
    static String write(Object value) {
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream()
                .map(entry -> quote((String) entry.getKey()) + ":" + write(entry.getValue()))
                .collect(Collectors.joining(",", "{", "}"));
        }
        if (value instanceof List<?> list) {
            return list.stream().map(Json::write).collect(Collectors.joining(",", "[", "]"));
        }
        return value instanceof String text ? quote(text) : String.valueOf(value);
    }

    /** Encodes a string by RFC 8785; the relay's texts have no control characters. */
    private static String quote(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
