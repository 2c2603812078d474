"""heatkv_parity on a folder as it is and as it must not be.

    parity_program_test.py PROGRAM FOLDER

FOLDER is a golden without a VAE that passes.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, FOLDER = sys.argv[1:3]


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class ParityProgramTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        for name in os.listdir(FOLDER):
            shutil.copy(os.path.join(FOLDER, name), self.folder)
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def change_meta(self, change):
        with open(self.path('meta.json')) as file:
            meta = json.load(file)
        change(meta)
        with open(self.path('meta.json'), 'w') as file:
            json.dump(meta, file)

    def flip_byte(self, file_name, tensor, offset=0):
        """Inverts one byte of a tensor."""
        with open(self.path(file_name), 'r+b') as file:
            size = struct.unpack('<Q', file.read(8))[0]
            header = json.loads(file.read(size))
            at = 8 + size + header[tensor]['data_offsets'][0] + offset
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    def expect_unreadable(self, *parts):
        code, out, err = run('--no-vae', self.folder)
        self.assertEqual(code, 2, out + err)
        self.assertEqual(out, '')
        self.assertEqual(err.count('\n'), 1, err)
        for part in parts:
            self.assertIn(part, err)

    def test_agreement_exits_0_with_one_json_object(self):
        code, out, err = run('--no-vae', self.folder)
        self.assertEqual(code, 0, out + err)
        report = json.loads(out)
        self.assertLess(report['logits'], 1e-4)
        self.assertGreater(report['bits_total'], 10000)
        self.assertEqual(report['bits_flipped'], 0)
        self.assertIsNone(report['decoded'])
        for scale in report['scales']:
            self.assertEqual(scale['server_bits_flipped'], 0)

    def test_a_changed_weight_exits_1_and_still_prints(self):
        # The exponent of a value of the head's bias.
        self.flip_byte('infinity.safetensors', 'head.bias', 1)
        code, out, err = run('--no-vae', self.folder)
        self.assertEqual(code, 1, out + err)
        self.assertGreater(json.loads(out)['logits'], 1e-4)

    def test_bits_of_the_server_follow_the_logits(self):
        # Logits of the recording are changed: the same numbers draw others.
        for value in range(0, 400, 4):
            self.flip_byte('goldens.safetensors', 'scale06.logits_raw', value + 3)
        code, out, _ = run('--no-vae', self.folder)
        self.assertEqual(code, 1)
        flipped = [scale['server_bits_flipped']
                   for scale in json.loads(out)['scales']]
        self.assertEqual(flipped[:6], [0] * 6)
        self.assertGreater(flipped[6], 0)

    def test_several_folders_are_compared_in_order(self):
        self.flip_byte('goldens.safetensors', 'scale02.bits')
        code, out, err = run('--no-vae', FOLDER, '--feed-recorded', self.folder,
                             '--own-bits', self.folder)
        self.assertEqual(code, 1, err)
        reports = []
        while out:
            report, end = json.JSONDecoder().raw_decode(out)
            reports.append(report)
            out = out[end:].lstrip()
        self.assertEqual([report['bits_flipped'] for report in reports[::2]],
                         [0, 1])
        self.assertEqual(len(reports), 3)
        self.assertGreater(reports[1]['scales'][3]['logits_relative_rms'], 1e-4)
        self.assertLess(reports[2]['scales'][3]['logits_relative_rms'], 1e-4)

    def test_a_folder_that_cannot_be_read_ends_the_list(self):
        code, out, err = run('--no-vae', FOLDER, '/nowhere', FOLDER)
        self.assertEqual(code, 2)
        self.assertIn('/nowhere', err)
        json.loads(out)  # of the one before

    def test_a_changed_recorded_bit_exits_1(self):
        self.flip_byte('goldens.safetensors', 'scale06.bits')
        code, out, _ = run('--no-vae', self.folder)
        self.assertEqual(code, 1)
        self.assertEqual(json.loads(out)['bits_flipped'], 1)

    def test_without_a_vae_one_must_say_so(self):
        code, _, err = run(self.folder)
        self.assertEqual(code, 2)
        self.assertIn('vae.safetensors', err)

    def test_missing_files_exit_2(self):
        for name in ('meta.json', 'infinity.safetensors',
                     'goldens.safetensors'):
            with self.subTest(name):
                os.rename(self.path(name), self.path('away'))
                self.expect_unreadable(name)
                os.rename(self.path('away'), self.path(name))

    def test_a_short_file_exits_2(self):
        os.truncate(self.path('infinity.safetensors'),
                    os.path.getsize(self.path('infinity.safetensors')) - 3)
        self.expect_unreadable('infinity.safetensors', 'the file holds only')

    def test_meta_that_contradicts_the_weights_exits_2(self):
        self.change_meta(lambda meta: meta['config'].update(depth=3))
        self.expect_unreadable('2 blocks', 'depth 3')

    def test_guidance_inside_the_blocks_exits_2(self):
        self.change_meta(lambda meta: meta.update(cfg_insertion_layer=[-5]))
        self.expect_unreadable('cfg_insertion_layer', '[-5]')

    def test_a_list_too_short_exits_2(self):
        self.change_meta(lambda meta: meta.update(tau=[1.0, 1.0]))
        self.expect_unreadable('tau', '2', '7')

    def test_a_missing_field_exits_2(self):
        self.change_meta(lambda meta: meta.pop('text_lens'))
        self.expect_unreadable('text_lens')

    def test_fed_bits_keep_a_flipped_bit_from_the_later_scales(self):
        self.flip_byte('goldens.safetensors', 'scale02.bits')
        _, out, _ = run('--no-vae', self.folder)
        free = json.loads(out)
        _, out, _ = run('--no-vae', '--feed-recorded', self.folder)
        fed = json.loads(out)
        self.assertEqual([s['bits_flipped'] for s in free['scales']],
                         [0, 0, 1, 0, 0, 0, 0])
        self.assertLess(free['scales'][3]['logits_relative_rms'], 1e-4)
        # Another history is fed than the one that the run had.
        self.assertEqual(fed['scales'][2]['bits_flipped'], 1)
        self.assertGreater(fed['scales'][3]['logits_relative_rms'], 1e-4)

    def test_bfloat16_is_near_and_not_judged(self):
        code, out, err = run('--no-vae', '--precision', 'bfloat16',
                             '--feed-recorded', self.folder)
        self.assertEqual(code, 0, out + err)
        for scale in json.loads(out)['scales']:
            self.assertGreater(scale['logits_relative_rms'], 1e-4)
            self.assertLess(scale['logits_relative_rms'], 1e-2)

    def test_a_ranking_of_another_model_exits_2(self):
        self.change_meta(lambda meta: meta.update(heatkv={
            'budget': 0.4, 'sink_scales': 3, 'orders': [[[0, 0]]] * 3}))
        self.expect_unreadable('source scale 3')

    def test_a_budget_without_a_ranking_exits_2(self):
        self.change_meta(lambda meta: meta.update(heatkv={'budget': 0.4}))
        self.expect_unreadable('heatkv', 'orders')

    def test_a_device_that_is_not_there_exits_2(self):
        code, _, err = run('--no-vae', '--device', 'cuda:63', self.folder)
        self.assertEqual(code, 2)
        self.assertIn('cuda:63', err)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
