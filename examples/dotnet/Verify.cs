// Verifies result tokens of fido-relay with .NET's own libraries (8 or later). No test runs it.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

public static class ResultToken
{
    private const long LeewaySeconds = 30;
    /// The maximum age of a success.
    private const long MaxAgeSeconds = 300;

    /// Claims that must equal the sent values; one that was not sent must be absent.
    private static readonly string[] Compared =
        ["iss", "aud", "jti", "sub", "client_nonce", "ceremony_type", "binding", "tx_hash"];

    /// <summary>The claims of a token that proves <paramref name="expected"/>.</summary>
    /// <param name="token">the <c>result</c> of <c>GET /v1/ceremonies/{id}</c></param>
    /// <param name="jwks">the JWK set of the relay, from <c>/.well-known/jwks.json</c></param>
    /// <param name="expected">the values of <see cref="Compared"/>, from what was opened</param>
    /// <param name="openedAt">when it was opened, in seconds since 1970</param>
    /// <param name="now">seconds since 1970</param>
    /// <exception cref="CryptographicException">the token does not prove it</exception>
    public static JsonElement VerifyResult(
        string token, JsonElement jwks, JsonElement expected, long openedAt, long now)
    {
        var parts = token.Split('.');
        Require(parts.Length == 3, "not a compact JWS");
        var header = Parse(parts[0]);
        Require(Text(header, "alg") == "ES256" && Text(header, "typ") == "ceremony-result+jwt"
            && !header.TryGetProperty("crit", out _), "another kind of token");
        using var key = Key(jwks, Text(header, "kid"));
        var signed = Encoding.ASCII.GetBytes($"{parts[0]}.{parts[1]}");
        Require(key.VerifyData(signed, Decode(parts[2]), HashAlgorithmName.SHA256,
            DSASignatureFormat.IeeeP1363FixedFieldConcatenation), "the signature does not verify");

        var claims = Parse(parts[1]);
        foreach (var name in Compared)
        {
            Require(Text(claims, name) == Text(expected, name), $"another {name}");
        }
        Require(Text(claims, "outcome") == "succeeded", "not a success");
        Require(claims.GetProperty("iat").GetInt64() <= now + LeewaySeconds
            && now < claims.GetProperty("exp").GetInt64() + LeewaySeconds, "not valid now");
        var decided = claims.GetProperty("auth_time").GetInt64();
        Require(decided >= openedAt - LeewaySeconds && decided <= now + LeewaySeconds
            && now - decided <= MaxAgeSeconds, "decided at another time");
        // For an approval; also "relay" only if the relay's signature over the text is enough for you.
        Require(Text(claims, "tx_binding") == (Text(expected, "tx_hash") is null ? null : "card"),
            "the words are not vouched for as they must be");
        // Two factors: omit this only if your policy accepts a card without its PIN.
        Require(claims.GetProperty("amr").EnumerateArray().Any(method =>
            method.GetString() == "pin"), "the card did not verify its user");
        return claims;
    }

    private static ECDsa Key(JsonElement jwks, string? kid)
    {
        foreach (var jwk in jwks.GetProperty("keys").EnumerateArray())
        {
            if (Text(jwk, "kid") == kid && Text(jwk, "kty") == "EC" && Text(jwk, "crv") == "P-256")
            {
                return ECDsa.Create(new ECParameters
                {
                    Curve = ECCurve.NamedCurves.nistP256,
                    Q = { X = Decode(Text(jwk, "x") ?? ""), Y = Decode(Text(jwk, "y") ?? "") },
                });
            }
        }
        throw new CryptographicException("no such key");
    }

    private static JsonElement Parse(string part)
    {
        using var document = JsonDocument.Parse(Decode(part));
        Require(document.RootElement.ValueKind == JsonValueKind.Object, "not a JSON object");
        return document.RootElement.Clone();
    }

    private static string? Text(JsonElement of, string name) =>
        of.TryGetProperty(name, out var value) ? value.GetString() : null;

    /// Canonical base64url: without padding, blanks and spare bits.
    private static byte[] Decode(string part)
    {
        var standard = part.Replace('-', '+').Replace('_', '/');
        var bytes = Convert.FromBase64String(
            standard.PadRight((standard.Length + 3) / 4 * 4, '='));
        var spelt = Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');
        Require(spelt == part, "not base64url");
        return bytes;
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new CryptographicException(otherwise);
        }
    }
}
