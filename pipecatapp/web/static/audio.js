// @ts-check
/**
 * One call: the microphone, the peer connection and the agent's voice.
 *
 * It owns every WebRTC object and gives them back when the call ends. What to show is not decided here. The
 * agent's wire format is SmallWebRTC: the audio transceiver first, the data channel made before the offer, a
 * `ping` on it each second, RTVI messages with their label.
 */

import { offerCall, sendCandidates } from "./api.js";

/** @typedef {"idle" | "asking" | "connecting" | "live" | "reconnecting"} CallPhase */

const PING_MS = 1000;
/** How long a broken path may mend itself before the call is made anew. */
const MENDING_MS = 2500;
/** How long a call may take to connect; the agent gives it up after 15 s and says so. */
const CONNECT_MS = 17000;
const RETRY_DELAYS_MS = [500, 1000, 2000, 4000, 8000];
/** What is still on its way when the agent falls silent has arrived by then. */
const MUTE_MS = 900;
const RTVI_VERSION = "2.2.0";

/** Draws the loudness of a stream out of the browser's audio graph. */
class LevelMeter {
  /** @param {AudioContext} context @param {MediaStream} stream */
  constructor(context, stream) {
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 512;
    this.samples = new Float32Array(this.analyser.fftSize);
    this.source = context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
  }

  /** Return the loudness now, 0 to 1, on a scale of 50 dB. */
  read() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length;
    return Math.min(1, Math.max(0, (10 * Math.log10(power + 1e-10) + 60) / 50));
  }

  close() {
    this.source.disconnect();
  }
}

export class Call {
  /**
   * @param {{
   *   speaker: HTMLAudioElement,
   *   onPhase: (phase: CallPhase) => void,
   *   onProblem: (error: unknown) => void,
   * }} options
   */
  constructor(options) {
    this.options = options;
    /** @type {CallPhase} */
    this.phase = "idle";
    /** @type {MediaStream | null} */
    this.microphone = null;
    /** @type {RTCPeerConnection | null} */
    this.peer = null;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {LevelMeter | null} */
    this.micMeter = null;
    /** @type {LevelMeter | null} */
    this.voiceMeter = null;
    this.sessionId = "";
    this.attempt = 0;
    this.pingTimer = 0;
    this.mendTimer = 0;
    this.muteTimer = 0;
  }

  /** Loudness of both sides, 0 to 1. */
  levels() {
    return { microphone: this.micMeter?.read() ?? 0, voice: this.voiceMeter?.read() ?? 0 };
  }

  /**
   * Ask for the microphone and call the agent.
   * @param {string} sessionId The conversation that the call belongs to.
   */
  async start(sessionId) {
    this.sessionId = sessionId;
    this.attempt = 0;
    this.enter("asking");
    try {
      this.microphone = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
      this.context = new AudioContext();
      await this.context.resume();
      this.micMeter = new LevelMeter(this.context, this.microphone);
      if (this.phase !== "asking") return this.release();
      this.enter("connecting");
      await this.connect();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Hang up. */
  stop() {
    this.release();
    this.enter("idle");
  }

  /**
   * Say a fixed sentence outside a call; a browser that will not play it has shown it already.
   * @param {string} url
   */
  play(url) {
    new Audio(url).play().catch(() => undefined);
  }

  /** Silence what is still on its way: the user spoke over the agent. */
  hush() {
    this.options.speaker.muted = true;
    window.clearTimeout(this.muteTimer);
    this.muteTimer = window.setTimeout(() => this.unhush(), MUTE_MS);
  }

  /** Let the agent be heard again. */
  unhush() {
    window.clearTimeout(this.muteTimer);
    this.options.speaker.muted = false;
  }

  /** @param {CallPhase} phase */
  enter(phase) {
    this.phase = phase;
    this.options.onPhase(phase);
  }

  /** @param {unknown} error */
  fail(error) {
    this.release();
    this.enter("idle");
    this.options.onProblem(error);
  }

  async connect() {
    const microphone = /** @type {MediaStream} */ (this.microphone);
    const peer = new RTCPeerConnection({ iceServers: [] });
    this.peer = peer;
    const channel = peer.createDataChannel("chat");
    channel.addEventListener("open", () => this.greet(channel));
    peer.addTransceiver(microphone.getAudioTracks()[0], { direction: "sendrecv", streams: [microphone] });
    peer.addEventListener("track", (event) => this.hear(event));
    peer.addEventListener("connectionstatechange", () => this.watch(peer));
    const queue = new CandidateQueue(peer);
    this.mendTimer = window.setTimeout(() => this.peer === peer && this.again(), CONNECT_MS);
    await peer.setLocalDescription(await peer.createOffer());
    const sdp = /** @type {RTCSessionDescription} */ (peer.localDescription).sdp;
    const reply = await offerCall(sdp, this.sessionId);
    if (this.peer !== peer) return;
    await peer.setRemoteDescription({ sdp: reply.sdp, type: reply.type });
    await queue.release(reply.pc_id);
  }

  /** @param {RTCDataChannel} channel */
  greet(channel) {
    const data = { version: RTVI_VERSION, about: { library: "twin-web" } };
    channel.send(JSON.stringify({ label: "rtvi-ai", type: "client-ready", id: crypto.randomUUID(), data }));
    window.clearInterval(this.pingTimer);
    this.pingTimer = window.setInterval(() => channel.readyState === "open" && channel.send("ping"), PING_MS);
  }

  /** @param {RTCTrackEvent} event */
  hear(event) {
    if (event.track.kind !== "audio" || !this.context) return;
    const stream = event.streams[0] ?? new MediaStream([event.track]);
    this.options.speaker.srcObject = stream;
    this.options.speaker.play().catch((error) => this.options.onProblem(error));
    this.voiceMeter?.close();
    this.voiceMeter = new LevelMeter(this.context, stream);
  }

  /** @param {RTCPeerConnection} peer */
  watch(peer) {
    if (this.peer !== peer) return;
    window.clearTimeout(this.mendTimer);
    if (peer.connectionState === "connected") {
      this.attempt = 0;
      this.enter("live");
    } else if (peer.connectionState === "disconnected") {
      this.mendTimer = window.setTimeout(() => this.peer === peer && this.again(), MENDING_MS);
    } else if (peer.connectionState === "failed" || peer.connectionState === "closed") {
      this.again();
    }
  }

  /** Call anew after the path was lost, a few times, then give up in words. */
  async again() {
    this.hangUp();
    if (this.attempt >= RETRY_DELAYS_MS.length) return this.fail(new Error("the call could not be made again"));
    const delayMs = RETRY_DELAYS_MS[this.attempt];
    this.attempt += 1;
    this.enter("reconnecting");
    await new Promise((resolve) => window.setTimeout(resolve, delayMs));
    if (this.phase !== "reconnecting") return;
    try {
      await this.connect();
    } catch (error) {
      if (this.phase !== "reconnecting") return;
      if (error instanceof TypeError) this.again();
      else this.fail(error);
    }
  }

  /** Close the connection and keep the microphone. */
  hangUp() {
    window.clearInterval(this.pingTimer);
    window.clearTimeout(this.mendTimer);
    const peer = this.peer;
    this.peer = null;
    peer?.close();
    this.voiceMeter?.close();
    this.voiceMeter = null;
    this.options.speaker.srcObject = null;
    this.unhush();
  }

  /** Give everything back. */
  release() {
    this.hangUp();
    this.micMeter?.close();
    this.micMeter = null;
    this.microphone?.getTracks().forEach((track) => track.stop());
    this.microphone = null;
    this.context?.close();
    this.context = null;
  }
}

/** Holds this side's addresses until the agent has named the call, then passes each on. */
class CandidateQueue {
  /** @param {RTCPeerConnection} peer */
  constructor(peer) {
    /** @type {RTCIceCandidate[]} */
    this.waiting = [];
    this.pcId = "";
    peer.addEventListener("icecandidate", (event) => {
      if (!event.candidate?.candidate) return;
      this.waiting.push(event.candidate);
      if (this.pcId) void this.flush();
    });
  }

  /** @param {string} pcId */
  async release(pcId) {
    this.pcId = pcId;
    await this.flush();
  }

  async flush() {
    const candidates = this.waiting.splice(0);
    if (candidates.length) await sendCandidates(this.pcId, candidates);
  }
}
