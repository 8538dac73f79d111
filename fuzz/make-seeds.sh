#!/bin/sh
# Writes what the fuzzer starts from into target/fuzz/raw/TARGET: fixtures, programs of this tree,
# cores that the unit tests make, a kernel of the harness cut to its headers. From the project's
# folder, after `cargo xtask test`; needs what that installs, and cpio, lz4, lzop.
# fuzz/seeds has some of them, none longer than 8 KiB but one purgatory image.
set -eu
raw=$PWD/target/fuzz/raw
fixtures=$PWD/tests/fixtures
pc=$fixtures/sysroot-x86_64-debian-6.1
rm -rf "$raw"
mkdir -p "$raw"

put() { # TARGET NAME: standard input becomes a seed
    mkdir -p "$raw/$1"
    cat > "$raw/$1/$2"
}

files() { # FOLDER PATH...: the files one behind the other
    cd "$1"
    shift
    for path; do
        printf '@@%s\n' "$path"
        cat "$path"
    done
    cd - > /dev/null
}

bytes() { # as many zeroes
    head -c "$1" /dev/zero
}

# Kernels: a setup header alone, one sector of setup code, one paragraph of kernel as payload.
kernel=$(find target/e2e/cache/amd64-bookworm -name 'vmlinuz-*-cloud-amd64' | head -n 1)
{
    bytes $((0x1f1))
    printf '\001'
    tail -c +$((0x1f3)) "$kernel" | head -c 2
    printf '\001\000\000\000'
    tail -c +$((0x1f9)) "$kernel" | head -c $((0x248 - 0x1f8))
    printf '\000\000\000\000\020\000\000\000'
    tail -c +$((0x251)) "$kernel" | head -c $((0x270 - 0x250))
    bytes $((0x400 - 0x270))
    printf '\037\213\010\000aaaaaaaaaaaa'
} | put image bzimage
find target/debug/build -path '*/purgatory/purgatory-*' -size -200k -not -name '*.d' |
    while read -r image; do
        name=$(basename "$image")
        put image "$name" < "$image"
        { bytes 8; cat "$image"; } | put purgatory_image "$name"
    done

# Packed, and initrds.
text='a kernel, a kernel, a kernel, a kernel, and another one'
for tool in gzip xz bzip2 zstd lz4 lzma lzop; do
    case $tool in
        lz4) options='-l -c' ;;
        zstd) options='-q -c' ;;
        *) options=-c ;;
    esac
    # shellcheck disable=SC2086 # several options
    printf '%s' "$text" | $tool $options | put unpack $tool
done
printf '%s' "$text" | lz4 -c | put unpack lz4-frame
folder=$(mktemp -d)
(
    cd "$folder"
    mkdir -p etc
    printf 'action = halt\n' > etc/kdump-capture.conf
    printf '#!/bin/sh\n' > init
    ln -s init linuxrc
    find . | sort | cpio --quiet -o -H newc
) > "$folder.cpio"
for target in initrd capture_image; do
    put $target cpio < "$folder.cpio"
    for tool in gzip zstd; do
        $tool -q -c < "$folder.cpio" | put $target $tool
    done
done
rm -rf "$folder" "$folder.cpio"

# Machines.
for sysroot in "$fixtures"/sysroot-x86_64* "$fixtures"/sysroot-i386*; do
    name=$(basename "$sysroot")
    put iomem "$name" < "$sysroot/proc/iomem"
    put kcore "$name" < "$sysroot/proc/kcore"
    put command_line "$name" < "$sysroot/proc/cmdline"
    # shellcheck disable=SC2046 # paths without spaces
    files "$sysroot" $(cd "$sysroot" && find proc sys -type f -size -8k -not -path '*/memmap/[1-9]*' \
        -not -path '*/cpu[1-9]*' -not -path '*/runtime-map/[1-9]*') | put machine "$name"
done
for sysroot in "$fixtures"/sysroot-ppc64*; do
    put device_tree "$(basename "$sysroot")" < "$sysroot/proc/device-tree.dtb"
done

# Cores.
FUZZ_SEEDS=$raw/vmcore cargo test --quiet -p capture > /dev/null
find "$raw/vmcore" -size +64k -delete
for target in printk filter address dump; do
    case $target in
        printk) prefix=0 ;;
        filter) prefix=1 ;;
        address) prefix=32 ;;
        dump) prefix=2 ;;
    esac
    for core in "$raw"/vmcore/*; do
        { bytes $prefix; cat "$core"; } | put $target "$(basename "$core")"
    done
done
for core in "$raw"/vmcore/*; do
    strings "$core" | grep -E '^[A-Z]+[=(]' | put vmcoreinfo "$(basename "$core")" || true
done

# A DHCPACK (RFC 2131, 2): BOOTREPLY for a transaction and a MAC address, then options.
{
    printf '\002\001\006\000\000\000\022\064'
    bytes 8
    printf '\012\000\002\017\012\000\002\002'
    bytes 4
    printf '\122\124\000\022\064\126'
    bytes 202
    printf '\143\202\123\143\065\001\005\066\004\012\000\002\002\063\004\000\000\016\020'
    printf '\001\004\377\377\377\000\003\004\012\000\002\002\006\004\012\000\002\003\377'
} | put dhcp ack

# What is configured, and what was saved.
put settings shipped < kdump/dist/kdump.toml
printf 'target = ext4 LABEL=dumps\nformat = kdump\nlevel = 31\naction = halt\n' | put capture_config some
printf '@@modules.dep\na.ko: b.ko\nb.ko:\n@@modules.alias\nalias fs-ext4 a\n@@modules.builtin\nkernel/d.ko\n' |
    put modules index
find target/e2e -maxdepth 2 -name manifest.json | head -n 4 | while read -r manifest; do
    { printf '@@manifest.json\n'; cat "$manifest"; printf '@@vmcore\nx@@vmcore-dmesg.txt\nKernel panic - not syncing: x\n'; } |
        put saved "$(echo "$manifest" | tr / -)"
done
