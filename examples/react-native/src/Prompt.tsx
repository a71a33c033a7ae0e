import type { ChallengeFrame, DeviceSocket, OfferFrame } from "@fido-relay/client";
import { useState, type RefObject } from "react";
import { Button, Text, TextInput, View } from "react-native";
import { cardCode, tap } from "./card";

/** A text from the relay, isolated from its surroundings. */
const isolated = (text: string) => `\u2068${text}\u2069`;

const WHAT = { registration: "Register a card", authentication: "Sign in", approval: "Approve" };

export function Prompt({ prompt, socket }: { prompt: OfferFrame | ChallengeFrame; socket: RefObject<DeviceSocket | undefined> }) {
  const id = prompt.ceremony_id;
  // A preview whose code the socket does not know asks for the code like any offer.
  const [asks, setAsks] = useState(false);
  const decline = (reason: "declined" | "not_me") => () => socket.current?.decline(id, reason);
  return (
    <View>
      <Text>{WHAT[prompt.ceremony_type]}</Text>
      <Text>
        {isolated(prompt.client_name)} ({isolated(prompt.rp_id)})
      </Text>
      {prompt.message !== undefined && <Text>{isolated(prompt.message)}</Text>}
      {prompt.transaction && <Text>{isolated(prompt.transaction.title)}</Text>}
      {prompt.transaction?.fields.map(({ label, value }, index) => (
        <Text key={index}>
          {isolated(label)}: {isolated(value)}
        </Text>
      ))}
      {prompt.context?.user_agent !== undefined && <Text>{isolated(prompt.context.user_agent)}</Text>}
      {prompt.context?.location !== undefined && <Text>{isolated(prompt.context.location)}</Text>}
      {prompt.type === "offer" && prompt.by_code && !asks ? (
        <Found offer={prompt} onYes={() => socket.current?.confirm(id) || setAsks(true)} />
      ) : prompt.type === "offer" ? (
        <Code length={prompt.code_length} onCode={(code) => socket.current?.claim(id, code)} />
      ) : (
        <Card challenge={prompt} socket={socket} />
      )}
      <Button title="No" onPress={decline("declined")} />
      <Button title="This was not me" onPress={decline("not_me")} />
    </View>
  );
}

/** The preview of a ceremony that a typed code found. */
function Found({ offer, onYes }: { offer: OfferFrame; onYes: () => void }) {
  return (
    <View>
      <Text>Found by the code that you typed{offer.rang ? "" : ": it rang on no phone"}.</Text>
      {offer.known_browser && <Text>You have used this browser before.</Text>}
      {offer.after_not_me && <Text>You said a short while ago that a request was not yours. Go on only if you opened this page yourself, just now.</Text>}
      <Button title="Yes, I opened this page myself" onPress={onYes} />
    </View>
  );
}

export function Code({ length, onCode }: { length: number; onCode: (code: string) => void }) {
  const [code, setCode] = useState("");
  return (
    <View>
      <Text>Only type a code that you see on the page you opened yourself.</Text>
      <TextInput value={code} onChangeText={setCode} keyboardType="number-pad" maxLength={length} contextMenuHidden />
      <Button title="Continue" disabled={code.length < length} onPress={() => onCode(code)} />
    </View>
  );
}

function Card({ challenge, socket }: { challenge: ChallengeFrame; socket: RefObject<DeviceSocket | undefined> }) {
  const [pin, setPin] = useState("");
  const [state, setState] = useState<"pin" | "card" | "signed">("pin");
  const hold = async () => {
    setState("card");
    setPin("");
    try {
      const credential = await tap(challenge, pin);
      socket.current?.answer(challenge.ceremony_id, challenge.attempt, credential);
      setState("signed");
    } catch (error) {
      // After a retryable error the prompt stays; after any other the relay closes the ceremony.
      socket.current?.cardFailed(challenge.ceremony_id, cardCode(error));
      setState("pin");
    }
  };
  if (state === "card") return <Text>Hold your card to the back of the phone.</Text>;
  if (state === "signed") return <Text>Your card has answered. It is being checked.</Text>;
  return (
    <View>
      <TextInput value={pin} onChangeText={setPin} secureTextEntry keyboardType="number-pad" placeholder="PIN of the card" />
      <Button title="Use my card" disabled={pin === ""} onPress={() => void hold()} />
    </View>
  );
}
