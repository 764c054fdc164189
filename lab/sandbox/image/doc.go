// Package image makes what the virtual machine of a warped run starts from: a
// kernel with an initramfs, kept in a cache (Build), and for every run one file
// system with the order, the result folder and the programs with all that they
// load (Pack).
//
// Everything is made by this package itself, without privileges, and depends on
// nothing but its input: neither the time, the umask, the user nor the order in
// which a folder is listed shows in the bytes. The same files give the same image,
// which is what makes runs comparable bit by bit.
//
// Functions may be called concurrently, by several processes too.
package image
