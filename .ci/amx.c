/* Ends well where the processor runs AMX instructions: `cc -mamx-tile amx.c -o amx && ./amx`. Some virtual machines
   name AMX among their features and then refuse it ("illegal instruction"). */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 2; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    struct { uint8_t palette, start, zero[14]; uint16_t columns[16]; uint8_t rows[16]; } config;
    memset(&config, 0, sizeof config);
    config.palette = 1; config.columns[0] = 64; config.rows[0] = 16;
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_release();
    return 0;
}
