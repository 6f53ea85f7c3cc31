package audit

import (
	"context"
	"time"
)

// Sweep removes what is kept no longer at the moment now, as Run does.
func (l *Log) Sweep(ctx context.Context, now time.Time) error { return l.sweep(ctx, now) }
