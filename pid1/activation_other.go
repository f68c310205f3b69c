//go:build !linux

package pid1

// passSockets does nothing: there is no systemd here.
func (c *Child) passSockets() (started func()) { return func() {} }
