// SPDX-License-Identifier: MIT

//go:build !linux

package nstest_test

func helpers() map[string]func() int { return inEveryMode }
