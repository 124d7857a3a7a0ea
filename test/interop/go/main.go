// A small go-libp2p peer for kin's interop tests. It listens, prints one JSON line with its id and addresses, then obeys one
// JSON command a line on stdin and answers each with one JSON line. It ends when stdin ends.
//
//	peer -security tls,noise -transport tcp,ws -dht /kin/abc
//
//	{"do":"echo","addr":"/ip4/…/p2p/…","sizes":[0,1,65536]}  opens /kin-interop/echo/1 there, sends frames, compares the echoes
//	{"do":"ping","addr":"…"}                                 /ipfs/ping/1.0.0
//	{"do":"connect","addr":"…"}                              dials, and waits until the DHT knows the peer
//	{"do":"provide","cid":"…"} {"do":"find","cid":"…"}       the DHT under the given prefix
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
)

const (
	echoProtocol = protocol.ID("/kin-interop/echo/1")
	// The largest frame of the echo; a length above it is a broken peer.
	maxFrameBytes = 1 << 20
	commandLimit  = 15 * time.Second
)

type command struct {
	Do    string `json:"do"`
	Addr  string `json:"addr"`
	Sizes []int  `json:"sizes"`
	Cid   string `json:"cid"`
}

type answer struct {
	Ok    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Id    string   `json:"id,omitempty"`
	Addrs []string `json:"addrs,omitempty"`
	Peers []string `json:"peers,omitempty"`
	// What the connection really used.
	Security string `json:"security,omitempty"`
	Muxer    string `json:"muxer,omitempty"`
}

func main() {
	security := flag.String("security", "tls,noise", "encrypters, in the order they are offered")
	transports := flag.String("transport", "tcp,ws", "transports to listen on")
	prefix := flag.String("dht", "", "protocol prefix of the DHT; empty: none")
	flag.Parse()

	self, table, err := start(*security, *transports, *prefix)
	if err != nil {
		say(answer{Error: err.Error()})
		os.Exit(1)
	}
	defer self.Close()
	self.SetStreamHandler(echoProtocol, echo)
	ready := answer{Ok: true, Id: self.ID().String()}
	for _, addr := range self.Addrs() {
		ready.Addrs = append(ready.Addrs, fmt.Sprintf("%s/p2p/%s", addr, self.ID()))
	}
	say(ready)

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var next command
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			say(answer{Error: err.Error()})
			continue
		}
		done, err := obey(self, table, next)
		if err != nil {
			done.Error = err.Error()
		}
		done.Ok = err == nil
		say(done)
	}
}

func start(security, transports, prefix string) (host.Host, *dht.IpfsDHT, error) {
	options := []libp2p.Option{libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.Ping(true)}
	for _, name := range strings.Split(security, ",") {
		switch name {
		case "tls":
			options = append(options, libp2p.Security(tls.ID, tls.New))
		case "noise":
			options = append(options, libp2p.Security(noise.ID, noise.New))
		default:
			return nil, nil, fmt.Errorf("unknown encrypter %q: tls or noise", name)
		}
	}
	for _, name := range strings.Split(transports, ",") {
		switch name {
		case "tcp":
			options = append(options, libp2p.Transport(tcp.NewTCPTransport), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
		case "ws":
			options = append(options, libp2p.Transport(websocket.New), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0/ws"))
		default:
			return nil, nil, fmt.Errorf("unknown transport %q: tcp or ws", name)
		}
	}
	self, err := libp2p.New(options...)
	if err != nil || prefix == "" {
		return self, nil, err
	}
	table, err := dht.New(self, dht.ProtocolPrefix(protocol.ID(prefix)), dht.Mode(dht.ModeServer))
	return self, table, err
}

func obey(self host.Host, table *dht.IpfsDHT, next command) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	switch next.Do {
	case "echo":
		return ask(ctx, self, next)
	case "ping":
		return pingPeer(ctx, self, next.Addr)
	case "connect":
		return connect(ctx, self, table, next.Addr)
	case "provide", "find":
		return lookUp(ctx, table, next)
	}
	return answer{}, fmt.Errorf("unknown command %q", next.Do)
}

func dial(ctx context.Context, self host.Host, addr string) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return "", err
	}
	return info.ID, self.Connect(ctx, *info)
}

func ask(ctx context.Context, self host.Host, next command) (answer, error) {
	id, err := dial(ctx, self, next.Addr)
	if err != nil {
		return answer{}, err
	}
	stream, err := self.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return answer{}, err
	}
	defer stream.Close()
	_ = stream.SetDeadline(time.Now().Add(commandLimit))
	reader := bufio.NewReader(stream)
	for _, size := range next.Sizes {
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		if err := writeFrame(stream, sent); err != nil {
			return answer{}, err
		}
		got, err := readFrame(reader)
		if err != nil {
			return answer{}, fmt.Errorf("echo of %d bytes: %w", size, err)
		}
		if !bytes.Equal(sent, got) {
			return answer{}, fmt.Errorf("echo of %d bytes came back as %d other bytes", size, len(got))
		}
	}
	return describe(stream.Conn()), nil
}

func describe(conn network.Conn) answer {
	state := conn.ConnState()
	return answer{Security: string(state.Security), Muxer: string(state.StreamMultiplexer)}
}

func pingPeer(ctx context.Context, self host.Host, addr string) (answer, error) {
	id, err := dial(ctx, self, addr)
	if err != nil {
		return answer{}, err
	}
	result := <-ping.Ping(ctx, self, id)
	return answer{}, result.Error
}

func connect(ctx context.Context, self host.Host, table *dht.IpfsDHT, addr string) (answer, error) {
	id, err := dial(ctx, self, addr)
	if err != nil || table == nil {
		return answer{}, err
	}
	for table.RoutingTable().Find(id) == "" {
		select {
		case <-ctx.Done():
			return answer{}, errors.New("the peer never entered the DHT's routing table")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return answer{}, nil
}

func lookUp(ctx context.Context, table *dht.IpfsDHT, next command) (answer, error) {
	key, err := cid.Decode(next.Cid)
	if err != nil || table == nil {
		return answer{}, errors.Join(err, errors.New("needs a CID and -dht"))
	}
	if next.Do == "provide" {
		return answer{}, table.Provide(ctx, key, true)
	}
	found := answer{}
	for info := range table.FindProvidersAsync(ctx, key, 1) {
		found.Peers = append(found.Peers, info.ID.String())
	}
	return found, nil
}

// Echoes length-prefixed frames until the other side closes.
func echo(stream network.Stream) {
	defer stream.Close()
	reader := bufio.NewReader(stream)
	for {
		frame, err := readFrame(reader)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = stream.Reset()
			}
			return
		}
		if writeFrame(stream, frame) != nil {
			return
		}
	}
}

func writeFrame(to io.Writer, payload []byte) error {
	_, err := to.Write(append(binary.AppendUvarint(nil, uint64(len(payload))), payload...))
	return err
}

func readFrame(from *bufio.Reader) ([]byte, error) {
	length, err := binary.ReadUvarint(from)
	if err != nil {
		return nil, err
	}
	if length > maxFrameBytes {
		return nil, fmt.Errorf("a frame of %d bytes", length)
	}
	payload := make([]byte, length)
	_, err = io.ReadFull(from, payload)
	return payload, err
}

func say(what answer) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}
