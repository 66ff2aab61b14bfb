// Package tutorial runs the commands of the README's tutorial, one by one, in the lab VM. The test has
// the build tag lab.
package tutorial
