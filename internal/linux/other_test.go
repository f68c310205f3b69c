// SPDX-License-Identifier: MIT

//go:build !linux

package linux_test

import (
	"errors"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

func TestUnsupported(t *testing.T) {
	if err := linux.SetSubreaper(true); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetSubreaper: got %v, want errors.ErrUnsupported", err)
	}
	if _, ended := linux.AwaitExit(1, nil); ended {
		t.Error("AwaitExit: ended, which nobody can know")
	}
}
