package sleep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		for _, c := range []struct {
			d    time.Duration
			want bool
			at   time.Duration
		}{{4 * time.Second, true, 4 * time.Second}, {0, true, 4 * time.Second}, {-time.Second, true, 4 * time.Second}, {time.Hour, false, 10 * time.Second}, {0, false, 10 * time.Second}} {
			if got := For(ctx, c.d); got != c.want || time.Since(began) != c.at {
				t.Errorf("%s: %v, after %s", c.d, got, time.Since(began))
			}
		}
	})
}
