// SPDX-License-Identifier: MIT

//go:build !linux

package reaper

import (
	"context"
	"errors"
	"fmt"
)

func (r *Reaper) run(context.Context) error {
	return fmt.Errorf("reaper: Run: %w: processes adopt orphans on Linux only", errors.ErrUnsupported)
}

func terminate(context.Context) error {
	return fmt.Errorf("reaper: Terminate: %w: Linux only", errors.ErrUnsupported)
}
