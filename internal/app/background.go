package app

import (
	"context"
	"sync"
)

// inBackground starts loops that run until the context they get ends. stop ends it,
// and returns when they have.
func inBackground(loops ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, loop := range loops {
		all.Go(func() { loop(ctx) })
	}
	return func() { cancel(); all.Wait() }
}
