interface NetInfoState {
  type: string;
  isConnected: boolean | null;
}
declare const NetInfo: { addEventListener(listener: (state: NetInfoState) => void): () => void };
export default NetInfo;
