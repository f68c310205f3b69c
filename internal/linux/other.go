// SPDX-License-Identifier: MIT

//go:build !linux

package linux

import (
	"errors"
	"os"
	"syscall"
)

func IsSubreaper() (bool, error) { return false, errors.ErrUnsupported }

func SetSubreaper(bool) error { return errors.ErrUnsupported }

func Adopt() (release func(), err error) { return func() {}, errors.ErrUnsupported }

func NoDescriptor(error) bool { return false }

func AwaitExit(int, func(syscall.Signal)) (status int, ended bool) { return 1, false }

func GroupOrphaned() bool { return false }

func Interruptible() (restore func()) { return func() {} }

func Foreground(*os.File) (pgrp int, err error) { return 0, errors.ErrUnsupported }

func SetForeground(*os.File, int) error { return errors.ErrUnsupported }
