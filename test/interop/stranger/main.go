// A stranger's kin client: written from docs/protocol.md alone, with go-libp2p and nothing of kin's code. It joins a mesh by
// ticket, says hello, invokes an agent or a tool, and verifies what comes back.
//
//	stranger call -ticket kint1… [-name NAME] -agent reviewer -text "…"        one JSON line for each thing that happens
//	stranger call -ticket kint1… -tool git.log -args '{"max":3}'
//	stranger call … -resume                                                     cuts the stream after accepted and resumes on another
//	stranger call … -sync                                                       also takes the log and the cards, verifies and opens them
//	stranger call … -again                                                      connects once more with the same keys
//	stranger call … -tamper                                                     flips a bit of the result that comes: must be refused
//	stranger vectors DIR                                                        checks test/vectors
//
// -agent and -tool may be given together: both are asked, in this order, over one stream.
//
// Exit codes: 0 answered (or the vectors hold), 1 something failed, 2 usage, 3 an answer was refused as not genuine,
// 4 the other side refused the join or the call.
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

const timeLimit = 60 * time.Second

func main() {
	if len(os.Args) == 3 && os.Args[1] == "vectors" {
		os.Exit(checkVectors(os.Args[2]))
	}
	if len(os.Args) < 2 || os.Args[1] != "call" {
		fmt.Fprintln(os.Stderr, "usage: stranger call -ticket T (-agent NAME -text TEXT | -tool NAME -args JSON) [-tamper] | stranger vectors DIR")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	text := flags.String("ticket", "", "the ticket")
	name := flags.String("name", "", "what to be called; default: what the ticket suggests")
	agent := flags.String("agent", "", "the agent to ask")
	said := flags.String("text", "what changed?", "what to ask it")
	settings := flags.String("settings", "{}", "its settings, JSON")
	tool := flags.String("tool", "", "the tool to call")
	args := flags.String("args", "{}", "its arguments, JSON")
	tamper := flags.Bool("tamper", false, "flip a bit of the result")
	resume := flags.Bool("resume", false, "cut the stream after accepted and resume")
	sync := flags.Bool("sync", false, "take the log and the cards")
	again := flags.Bool("again", false, "connect once more with the same keys")
	flags.Parse(os.Args[2:])
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	plan := plan{*text, *name, []asked{{target{agent: *agent}, *said, *settings}, {target{tool: *tool}, "", *args}}, *tamper, *resume, *sync, *again}
	err := run(ctx, plan)
	os.Exit(exitCode(err))
}

type plan struct {
	ticket    string
	name      string
	questions []asked
	tamper    bool
	resume    bool
	sync      bool
	again     bool
}

type asked struct {
	target target
	text   string
	args   string
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	say(map[string]any{"event": "error", "message": err.Error()})
	var refused *remoteError
	var wrong *protocolError
	switch {
	case errors.As(err, &refused):
		return 4
	case errors.As(err, &wrong):
		return 3
	}
	return 1
}

func say(line any) {
	out, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(out))
}

func run(ctx context.Context, plan plan) error {
	name := plan.name
	t, err := parseTicket(plan.ticket)
	if err != nil {
		return err
	}
	if name == "" {
		name = t.guest
	}
	say(map[string]any{"event": "ticket", "mesh": t.mesh.String(), "name": t.meshName, "inviter": t.inviterName, "role": t.role})
	g, err := newGuest(name)
	if err != nil {
		return err
	}
	self, connection, err := dial(ctx, t, g.device)
	if err != nil {
		return err
	}
	defer self.Close()
	say(map[string]any{"event": "connected", "security": connection.ConnState().Security, "muxer": connection.ConnState().StreamMultiplexer})
	joined, err := join(ctx, connection, t, g)
	if err != nil {
		return err
	}
	say(map[string]any{"event": "joined", "person": joined.person.String(), "records": len(joined.roster.nodes), "members": memberNames(joined.tables), "epochs": len(joined.epochs)})
	me := selfOf(joined, t, g)
	greeting, err := hello(ctx, connection, me, t.inviter, joined.tables)
	if err != nil {
		return err
	}
	say(map[string]any{"event": "greeted", "person": greeting.person.String(), "agentKeys": len(greeting.keys)})
	if err := askAll(ctx, connection, me, greeting, t.inviter, plan); err != nil {
		return err
	}
	if plan.sync {
		if err := askCards(ctx, connection, t.mesh); err != nil {
			return err
		}
		if err := syncAll(ctx, connection, me, joined, g.sealing); err != nil {
			return err
		}
	}
	if !plan.again {
		return nil
	}
	self.Close()
	other, connection, err := dial(ctx, t, g.device)
	if err != nil {
		return err
	}
	defer other.Close()
	if greeting, err = hello(ctx, connection, me, t.inviter, joined.tables); err == nil {
		say(map[string]any{"event": "greeted again", "person": greeting.person.String()})
	}
	return err
}

func askAll(ctx context.Context, connection network.Conn, me *self, greeting *greeting, callee id, plan plan) error {
	w, err := open(ctx, connection, "/kin/invoke/1")
	if err != nil {
		return err
	}
	defer func() { w.stream.Close() }()
	number := int64(0)
	for _, question := range plan.questions {
		if question.target.name() == "" {
			continue
		}
		number++
		a := &asking{w: w, me: me, greeting: greeting, callee: callee, number: number, tamper: plan.tamper}
		if plan.resume {
			a.reopen = func() (*wire, error) { return open(ctx, connection, "/kin/invoke/1") }
		}
		if err := a.invoke(question); err != nil {
			return err
		}
		w, number = a.w, a.number
	}
	return nil
}

func selfOf(joined *joined, t *ticket, g *guest) *self {
	me := &self{mesh: t.mesh, person: joined.person, device: g.device, boot: random(16)}
	for _, head := range maximal(joined.roster.all()) {
		me.heads = append(me.heads, head.id)
	}
	return me
}

func memberNames(t *tables) []string {
	out := []string{}
	for _, p := range t.persons {
		if t.livingPerson(p.id) {
			out = append(out, p.name)
		}
	}
	return out
}

// ── the connection (§6) ──

type wire struct {
	stream network.Stream
	in     *bufio.Reader
}

func (w *wire) send(value any) error {
	_, err := w.stream.Write(frame(encode(value)))
	return err
}

func (w *wire) receive() ([]byte, error) {
	return readFrame(w.in, func(payload []byte) error {
		_, err := io.ReadFull(w.in, payload)
		return err
	})
}

func open(ctx context.Context, connection network.Conn, id protocol.ID) (*wire, error) {
	stream, err := connection.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		stream.SetDeadline(deadline)
	}
	if err := negotiate(stream, id); err != nil {
		stream.Reset()
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return &wire{stream, bufio.NewReader(stream)}, nil
}

func dial(ctx context.Context, t *ticket, key ed25519.PrivateKey) (host.Host, network.Conn, error) {
	private, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	self, err := libp2p.New(libp2p.Identity(private), libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.Ping(true))
	if err != nil {
		return nil, nil, err
	}
	inviter, err := crypto.UnmarshalEd25519PublicKey(t.inviter[:])
	if err != nil {
		return nil, nil, err
	}
	at, err := peer.IDFromPublicKey(inviter)
	if err != nil {
		return nil, nil, err
	}
	info := peer.AddrInfo{ID: at}
	for _, address := range t.addresses {
		if one, err := ma.NewMultiaddr(address); err == nil {
			info.Addrs = append(info.Addrs, one)
		}
	}
	if err := self.Connect(ctx, info); err != nil {
		self.Close()
		return nil, nil, err
	}
	return self, self.Network().ConnsToPeer(at)[0], nil
}

// ── the dialogues ──

func join(ctx context.Context, connection network.Conn, t *ticket, g *guest) (*joined, error) {
	w, err := open(ctx, connection, "/kin/join/1")
	if err != nil {
		return nil, err
	}
	defer w.stream.Close()
	if err := w.send(joinFrame(t)); err != nil {
		return nil, err
	}
	payload, err := w.receive()
	if err != nil {
		return nil, err
	}
	challenge, err := openChallenge(payload, t, t.inviter)
	if err != nil {
		return nil, err
	}
	if err := w.send(proofFrame(t, g, t.inviter, challenge, random(16))); err != nil {
		return nil, err
	}
	return receiveAdmission(w.receive, t, g, t.inviter)
}

func hello(ctx context.Context, connection network.Conn, me *self, to id, tables *tables) (*greeting, error) {
	w, err := open(ctx, connection, "/kin/hello/1")
	if err != nil {
		return nil, err
	}
	defer w.stream.Close()
	nonce := random(16)
	sent := time.Now()
	if err := w.send(map[string]any{"t": "nonce", "v": []any{1}, "n": nonce}); err != nil {
		return nil, err
	}
	payload, err := w.receive()
	if err != nil {
		return nil, err
	}
	f, err := expectHello(payload, "nonce")
	if err != nil {
		return nil, err
	}
	theirs, versions := f.bytes("n", 16), f.list("v", 1, 16)
	if f.err != nil {
		return nil, f.err
	}
	if !speaksOne(versions) {
		return nil, fail("UNSUPPORTED_VERSION", "the peer does not speak version 1")
	}
	if err := w.send(helloFrame(me, to, theirs, time.Now().UnixMilli())); err != nil {
		return nil, err
	}
	if payload, err = w.receive(); err != nil {
		return nil, err
	}
	half := time.Since(sent).Milliseconds() / 2
	personOf := func(device id) (id, bool) {
		d := tables.devices[device]
		if d == nil || !tables.livingDevice(d) {
			return id{}, false
		}
		return d.person, true
	}
	out, err := openHello(payload, me.mesh, to, public(me.device), nonce, personOf)
	if err != nil {
		return nil, err
	}
	if skew := out.wall - (time.Now().UnixMilli() - half); skew > 300_000 || skew < -300_000 {
		return nil, fail("CLOCK_SKEW", "the peer's clock is %d ms off", skew)
	}
	if err := w.send(map[string]any{"t": "ok"}); err != nil {
		return nil, err
	}
	if payload, err = w.receive(); err != nil {
		return nil, err
	}
	_, err = expectHello(payload, "ok")
	return out, err
}

func speaksOne(versions []any) bool {
	for _, v := range versions {
		if v == int64(1) {
			return true
		}
	}
	return false
}

// One call over a stream, which may be cut and resumed.
type asking struct {
	w        *wire
	me       *self
	greeting *greeting
	callee   id
	number   int64
	tamper   bool
	// Set: the stream is cut once after accepted, and the call resumed on the one that this opens.
	reopen func() (*wire, error)
}

func (a *asking) invoke(question asked) error {
	to := party{person: a.greeting.person, device: &a.callee}
	request := makeRequest(a.me, to, a.greeting.boot, question.target, question.text, question.args, 30_000, time.Now().UnixMilli())
	if err := a.w.send(map[string]any{"t": "request", "c": a.number, "e": request.value()}); err != nil {
		return err
	}
	device := public(a.me.device)
	c := &call{mesh: a.me.mesh, me: party{a.me.person, &device, ""}, callee: to, target: question.target, request: leafOf("envelope/device", request.bytes)}
	if question.target.agent != "" {
		c.agentKey = currentKey(a.greeting.keys, a.me.mesh, a.callee, question.target.agent)
	}
	for used := 1; ; used++ {
		payload, err := a.w.receive()
		if err != nil {
			return err
		}
		if a.tamper {
			payload = flip(payload)
		}
		heard, err := c.hear(payload, a.number, time.Now().UnixMilli())
		if err != nil {
			a.w.stream.Reset()
			return fmt.Errorf("an answer is not good: %w", err)
		}
		say(map[string]any{"event": heard.Type, "call": a.number, "target": question.target.name(), "answer": heard, "text": partsText(heard.Parts)})
		last := heard.Type == "result" || heard.Type == "failure" || heard.Type == "refused"
		if used%8 == 0 || last {
			if err := a.w.send(map[string]any{"t": "ack", "a": []any{a.number, c.next}}); err != nil {
				return err
			}
		}
		if heard.Error != nil {
			return &remoteError{heard.Error}
		}
		if last {
			return nil
		}
		if a.reopen != nil {
			if err := a.resume(c, request); err != nil {
				return err
			}
		}
	}
}

// Cuts the stream and goes on where the call was, on a new one: its numbers begin anew.
func (a *asking) resume(c *call, request *sealed) error {
	a.w.stream.Reset()
	w, err := a.reopen()
	if err != nil {
		return err
	}
	a.w, a.number, a.reopen = w, 1, nil
	first := decodedMap(request.bytes)
	body := map[string]any{"from": c.next, "id": first["id"], "boot": first["boot"]}
	resume := makeFollowUp(a.me, c, "invoke/resume", a.greeting.boot, body, time.Now().UnixMilli())
	say(map[string]any{"event": "resumed", "from": c.next})
	return w.send(map[string]any{"t": "resume", "c": a.number, "e": resume.value()})
}

// Flips one bit in the envelope of a result, in its last byte: everything still decodes, the seal must not hold.
func flip(payload []byte) []byte {
	value, err := decode(payload)
	frame, ok := value.(map[string]any)
	if err != nil || !ok || frame["t"] != "result" {
		return payload
	}
	message := frame["e"].(map[string]any)["b"].([]byte)
	message[len(message)-1] ^= 1
	return encode(value)
}
