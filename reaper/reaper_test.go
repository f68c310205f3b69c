// SPDX-License-Identifier: MIT

package reaper_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/entrypoint-go/entrypoint/reaper"
)

func TestUnsupported(t *testing.T) {
	if runtime.GOOS == "linux" {
		t.Skip("supported on Linux")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := new(reaper.Reaper).Run(ctx); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Run = %v, want errors.ErrUnsupported", err)
	}
	if err := reaper.Terminate(ctx); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Terminate = %v, want errors.ErrUnsupported", err)
	}
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	var r reaper.Reaper
	go r.Run(ctx) // beside whatever else the program does
}
