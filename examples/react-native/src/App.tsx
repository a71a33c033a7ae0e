import { parsePairingLink } from "@fido-relay/client";
import { useState } from "react";
import { Button, Text, TextInput, View } from "react-native";
import { pair } from "./device";
import { Code, Prompt } from "./Prompt";
import { useDevice } from "./useDevice";

export function App() {
  const { device, setDevice, shown, socket } = useDevice();
  if (device === undefined) return <Text>One moment …</Text>;
  if (device === null) return <Pairing onPaired={setDevice} />;
  const [prompt] = shown.prompts;
  // A prompt's own field also accepts the code of any page.
  const asks = prompt?.type === "offer" && !prompt.by_code;
  return (
    <View>
      <Text accessibilityLiveRegion="polite">{shown.connected ? "Connected" : "Connecting …"}</Text>
      {shown.told !== undefined && <Text>{shown.told}</Text>}
      {prompt && <Prompt key={`${prompt.ceremony_id} ${prompt.type}`} prompt={prompt} socket={socket} />}
      {!asks && <Code length={6} onCode={(code) => socket.current?.typeCode(code)} />}
      {shown.held !== undefined && (
        <View>
          <Text>{shown.held} requests came and were not shown. If you are at a page now, type its code.</Text>
          <Button title="These were not mine" onPress={() => socket.current?.reportNotMe()} />
        </View>
      )}
    </View>
  );
}

function Pairing({ onPaired }: { onPaired: (device: Awaited<ReturnType<typeof pair>>) => void }) {
  const [link, setLink] = useState("");
  const [told, setTold] = useState("");
  const host = () => {
    try {
      return parsePairingLink(link).relay;
    } catch {
      return undefined;
    }
  };
  const relay = host();
  return (
    <View>
      {/* An app scans it; the person sees which host they trust. */}
      <TextInput value={link} onChangeText={setLink} placeholder="fido-relay://pair?…" autoCapitalize="none" />
      {relay !== undefined && <Text>Pair this phone with {relay}?</Text>}
      <Button title="Pair" disabled={relay === undefined} onPress={() => void pair(link).then(onPaired, (error) => setTold(String(error)))} />
      <Text>{told}</Text>
    </View>
  );
}
