package auth

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// backoff counts wrong passwords by address and user name. The zero value is
// ready.
//
// Its memory is bounded: of maxFailing pairs at the most one record of fixed
// size is kept. When a further pair fails, a record with the fewest failures
// makes room, so whoever wants his own record forgotten has to fail with more
// names or addresses than there are records, each as often as with the first.
type backoff struct {
	mu      sync.Mutex
	failing map[failKey]*failures
}

// failKey is the hash of address and user name, which a client can make long.
type failKey [sha256.Size]byte

type failures struct {
	n    int // different wrong passwords in a row
	last [sha256.Size]byte
	at   time.Time // of the last that counted
}

const (
	maxFailing   = 4096
	freeFailures = 10
	minWait      = time.Second
	maxWait      = time.Minute
	failureLife  = 15 * time.Minute // after which a record counts no more
)

// wait returns how long the pair has to wait before its next try.
func (b *backoff) wait(client, user string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failing[newFailKey(client, user)]
	if f == nil || f.n < freeFailures {
		return 0
	}
	wait := min(minWait<<min(f.n-freeFailures, 10), maxWait)
	return max(0, time.Until(f.at.Add(wait)))
}

// failed counts a wrong password, given as its mac.
func (b *backoff) failed(client, user string, mac [sha256.Size]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, now := newFailKey(client, user), time.Now()
	f := b.failing[key]
	switch {
	case f == nil || now.Sub(f.at) > failureLife:
		f = &failures{}
		b.add(key, f)
	case f.last == mac:
		return
	}
	f.n, f.last, f.at = f.n+1, mac, now
}

// add makes room, if need be, and adds f.
func (b *backoff) add(key failKey, f *failures) {
	if b.failing == nil {
		b.failing = make(map[failKey]*failures)
	}
	if len(b.failing) >= maxFailing && b.failing[key] == nil {
		var fewest failKey
		n := -1
		for k, f := range b.failing {
			if time.Since(f.at) > failureLife {
				fewest = k
				break
			}
			if n < 0 || f.n < n {
				fewest, n = k, f.n
			}
		}
		delete(b.failing, fewest)
	}
	b.failing[key] = f
}

func (b *backoff) succeeded(client, user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failing, newFailKey(client, user))
}

// newFailKey takes of an IPv6 address the network, for whoever has one address
// of it has all.
func newFailKey(client, user string) failKey {
	if addr, err := netip.ParseAddrPort(client); err == nil {
		ip := addr.Addr().Unmap().WithZone("")
		bits := 32
		if ip.Is6() {
			bits = 64
		}
		network, _ := ip.Prefix(bits) // bits are in range
		client = network.String()
	}
	return sha256.Sum256([]byte(client + "\x00" + user))
}
