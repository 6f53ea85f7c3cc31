package outbound

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// nameServer answers questions for addresses over UDP on loopback.
type nameServer struct {
	mute bool // answers nothing until the end of the test

	mu      sync.Mutex
	answers map[string][]string // by name with its last dot
}

func (s *nameServer) set(name string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[name] = addrs
}

// start returns a resolver that asks this server only.
func (s *nameServer) start(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		held := map[net.Addr][]byte{}
		for {
			buf := make([]byte, 512)
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				break
			}
			if s.mute {
				held[from] = buf[:n]
			} else {
				conn.WriteTo(s.answer(buf[:n]), from)
			}
		}
		for from, question := range held {
			conn.WriteTo(s.answer(question), from) // package net waits for it, long after the one who asked
		}
		conn.Close()
	}()
	t.Cleanup(func() { conn.SetReadDeadline(time.Now()); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

// answer makes the answer to a question with one name (RFC 1035, section 4).
func (s *nameServer) answer(question []byte) []byte {
	const head = 12
	var name strings.Builder
	i := head
	for question[i] != 0 {
		n := int(question[i])
		name.Write(question[i+1 : i+1+n])
		name.WriteByte('.')
		i += 1 + n
	}
	kind := question[i+2]
	asked := question[head : i+5]

	s.mu.Lock()
	addrs, known := s.answers[name.String()]
	s.mu.Unlock()
	const typeA, typeAAAA = 1, 28
	var ips [][]byte
	for _, addr := range addrs {
		if ip := netip.MustParseAddr(addr); ip.Is4() && kind == typeA || ip.Is6() && kind == typeAAAA {
			ips = append(ips, ip.AsSlice())
		}
	}
	out := append([]byte{question[0], question[1], 0x84, 0, 0, 1, 0, byte(len(ips)), 0, 0, 0, 0}, asked...)
	if !known {
		out[3] = 3 // no such name
	}
	for _, ip := range ips {
		out = append(out, 0xc0, head, 0, kind, 0, 1, 0, 0, 0, 0, 0, byte(len(ip)))
		out = append(out, ip...)
	}
	return out
}
