package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// How long follow waits before it connects again: the first time, and at most. A
// connection that held for as long as the latter begins anew with the former.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
)

// follow keeps a connection open until ctx ends, which is no error: connect is
// called again whenever the connection is lost, and calls opened when it stands.
// Someone who watches is told when it is lost and when it is back. What fails at
// the first time, or for good, is returned.
func (env Env) follow(ctx context.Context, server string, connect func(ctx context.Context, opened func()) error) error {
	pause := firstPause
	stood, lost := false, false // whether it ever stood; whether its loss was told
	for {
		var since time.Time
		err := connect(ctx, func() {
			if lost {
				fmt.Fprintf(env.Stderr, "connected to %s again\n", server)
			}
			stood, lost, since = true, false, time.Now()
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !stood || forGood(err):
			return err
		case !lost:
			lost = true
			fmt.Fprintf(env.Stderr, "lost the connection, trying again until it is back: %s\n", sentence(err))
		}
		if !since.IsZero() && time.Since(since) > longPause {
			pause = firstPause
		}
		select {
		case <-time.After(pause + rand.N(pause)/4): // a crowd of clients does not come back at once
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, longPause)
	}
}

// forGood reports whether asking again is in vain. What is no fault is not the
// server's failure. An answer without a code is not the control plane's: a proxy
// gives it while the server starts.
func forGood(err error) bool {
	var f *fault.Error
	return !errors.As(err, &f) || f.Code != "" && f.Kind != fault.Internal && f.Kind != fault.Unavailable
}
