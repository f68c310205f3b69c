// SPDX-License-Identifier: MIT

package began_test

import (
	"context"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/began"
)

func TestWhen(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	ctx := began.At(context.Background(), at)
	if got := began.When(ctx); !got.Equal(at) {
		t.Errorf("got %v, want %v", got, at)
	}
	for _, ctx := range []context.Context{context.Background(), began.At(ctx, time.Time{})} {
		before := time.Now()
		if got := began.When(ctx); got.Before(before) || got.After(time.Now()) {
			t.Errorf("got %v, want now", got)
		}
	}
}
