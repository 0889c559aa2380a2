//! System calls that rustix has no safe functions for: the loop driver's ioctls and mount_setattr. Beside `rbd::ceph` this is
//! the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// Take a free device's number (`LOOP_CTL_GET_FREE`).
const GET_FREE: Opcode = 0x4c82;
/// Attach a file with all settings at once (`LOOP_CONFIGURE`, Linux 5.8).
const CONFIGURE: Opcode = 0x4c0a;
/// Detach (`LOOP_CLR_FD`).
const CLEAR: Opcode = 0x4c01;
/// Read the settings (`LOOP_GET_STATUS64`).
const GET_STATUS: Opcode = 0x4c05;
/// Take over the file's present size (`LOOP_SET_CAPACITY`).
const SET_CAPACITY: Opcode = 0x4c07;
/// The device is read-only.
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
/// Length of the name that a device carries (`LO_NAME_SIZE`); the last byte is zero.
pub(crate) const TAG: usize = 64;

/// Mirrors the kernel's `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; TAG],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// Mirrors the kernel's `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

impl Info {
    const ZERO: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; TAG],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// An ioctl whose argument is absent and whose answer is its return value.
struct Plain(Opcode);

// SAFETY: none of the codes used with it reads or writes memory of ours: the argument is null.
unsafe impl Ioctl for Plain {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

/// An ioctl that reads or writes one structure of ours.
struct With<'a, T>(Opcode, &'a mut T);

// SAFETY: the kernel reads or writes at most one `T`, whose layout is checked above, and the exclusive
// borrow keeps it alive and unshared for the call.
unsafe impl<T> Ioctl for With<'_, T> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.1).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// The file behind a loop device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backing {
    /// Its file system's device number.
    pub(crate) device: u64,
    /// Its inode.
    pub(crate) inode: u64,
    /// Whether the device shows all of the file, from its beginning.
    pub(crate) is_whole: bool,
    /// Whether the device is read-only.
    pub(crate) readonly: bool,
    /// Whether it lets go of the file as soon as nobody has it open.
    pub(crate) leaving: bool,
    /// What [`configure`] or another program wrote there; zero bytes follow.
    pub(crate) tag: [u8; TAG],
}

/// A free device's number, from `/dev/loop-control`. Somebody else may take it first.
pub(crate) fn free_number(control: impl AsFd) -> io::Result<i32> {
    // SAFETY: GET_FREE takes no argument.
    Ok(unsafe { ioctl(control, Plain(GET_FREE)) }?)
}

/// Attaches a file to a device and names the device `tag`, of which the kernel keeps 63 bytes; EBUSY if the
/// device has a file.
pub(crate) fn configure(device: impl AsFd, file: impl AsFd, readonly: bool, tag: &str) -> io::Result<()> {
    let fd = u32::try_from(file.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let mut info = Info { flags: if readonly { READ_ONLY } else { 0 }, ..Info::ZERO };
    info.file_name.iter_mut().zip(tag.bytes().take(TAG - 1)).for_each(|(to, from)| *to = from);
    let mut config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: CONFIGURE reads one `struct loop_config`.
    Ok(unsafe { ioctl(device, With(CONFIGURE, &mut config)) }?)
}

/// The file behind a device; ENXIO if there is none.
pub(crate) fn backing(device: impl AsFd) -> io::Result<Backing> {
    let mut info = Info::ZERO;
    // SAFETY: GET_STATUS writes one `struct loop_info64`.
    unsafe { ioctl(device, With(GET_STATUS, &mut info)) }?;
    let (readonly, leaving) = (info.flags & READ_ONLY != 0, info.flags & AUTOCLEAR != 0);
    let is_whole = info.offset == 0 && info.size_limit == 0;
    Ok(Backing { device: info.device, inode: info.inode, is_whole, readonly, leaving, tag: info.file_name })
}

/// Detaches the file; if the device is open elsewhere, once that is closed.
pub(crate) fn clear(device: impl AsFd) -> io::Result<()> {
    // SAFETY: CLEAR takes no argument.
    unsafe { ioctl(device, Plain(CLEAR)) }?;
    Ok(())
}

/// Takes over the file's present size.
pub(crate) fn set_capacity(device: impl AsFd) -> io::Result<()> {
    // SAFETY: SET_CAPACITY takes no argument.
    unsafe { ioctl(device, Plain(SET_CAPACITY)) }?;
    Ok(())
}

/// Attributes of a mount for `mount_setattr` (Linux 5.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    set: u64,
    clear: u64,
}

/// All ways to keep access times: one of them is in force, so setting one clears the others.
const ANY_ATIME: u64 = 0x70;

impl MountAttributes {
    pub(crate) const NONE: Self = Self { set: 0, clear: 0 };
    pub(crate) const READ_ONLY: Self = Self { set: 0x1, clear: 0 };
    pub(crate) const NO_SUID: Self = Self { set: 0x2, clear: 0 };
    pub(crate) const NO_DEV: Self = Self { set: 0x4, clear: 0 };
    pub(crate) const NO_EXEC: Self = Self { set: 0x8, clear: 0 };
    pub(crate) const REL_ATIME: Self = Self { set: 0, clear: ANY_ATIME };
    pub(crate) const NO_ATIME: Self = Self { set: 0x10, clear: ANY_ATIME };
    pub(crate) const NO_DIR_ATIME: Self = Self { set: 0x80, clear: 0 };

    /// Both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { set: self.set | other.set, clear: self.clear | other.clear }
    }
}

/// Mirrors the kernel's `struct mount_attr`, in its first version.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Gives a mount, which `open_tree` opened, these attributes on top of its own. ENOSYS before Linux 5.12.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    MountAttributes { set, clear }: MountAttributes,
) -> Result<(), Errno> {
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    let (fd, flags, size) = (mount.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH, size_of::<Attributes>());
    // SAFETY: the kernel reads the empty path and one `struct mount_attr`, whose size it is given; both
    // outlive the call. The descriptor is open for as long as `mount` is borrowed.
    let outcome = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attributes, size)
    };
    match outcome {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
