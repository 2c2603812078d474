"""The shipped folder is complete, consistent and small enough."""
import hashlib
import json
import os
import struct
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, 'models', 'default')
TRAINING = os.path.join(ROOT, 'model', 'training')
WEIGHTS = ('infinity', 'vae', 'text_encoder')


def header(name):
    with open(os.path.join(MODEL, name + '.safetensors'), 'rb') as f:
        n = struct.unpack('<Q', f.read(8))[0]
        return json.loads(f.read(n))


class DefaultModelTest(unittest.TestCase):
    def test_weights_tokenizer_and_judge_fit_in_24_million_bytes(self):
        paths = [os.path.join(MODEL, n + '.safetensors') for n in WEIGHTS]
        paths += [os.path.join(MODEL, 'tokenizer.model'),
                  os.path.join(TRAINING, 'judge', 'judge.safetensors')]
        self.assertLessEqual(sum(map(os.path.getsize, paths)), 24_000_000)

    def test_every_int8_tensor_has_one_scale_a_row(self):
        for name in WEIGHTS:
            h = header(name)
            for key, t in h.items():
                if t.get('dtype') == 'I8':
                    scale = h[key + '.int8_scale']
                    self.assertEqual(scale['dtype'], 'F32')
                    self.assertEqual(scale['shape'], t['shape'][:1])

    def test_shapes_are_those_of_model_yaml(self):
        h = header('infinity')
        self.assertEqual(h['head.weight']['shape'], [32, 320])
        self.assertEqual(h['lvl_embed.weight']['shape'], [8, 320])
        self.assertIn('block_chunks.1.module.3.ffn.fc2.weight', h)
        h = header('text_encoder')
        bias = 'encoder.block.0.layer.0.SelfAttention.'
        self.assertEqual(
            h[bias + 'relative_attention_bias.weight']['shape'], [32, 5])

    def test_profile_belongs_to_the_weights(self):
        with open(os.path.join(MODEL, 'profile.json')) as f:
            profile = json.load(f)
        with open(os.path.join(MODEL, 'infinity.safetensors'), 'rb') as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        self.assertEqual(profile['model_sha256'], digest)
        pairs = {(h, l) for h in range(10) for l in range(8)}
        self.assertEqual(sorted(profile['ranking']), ['3', '4', '5', '6'])
        for s, order in profile['ranking'].items():
            self.assertEqual({tuple(p) for p in order}, pairs)
            scores = [profile['scores'][s][l][h] for h, l in order]
            self.assertEqual(scores, sorted(scores))
        with open(os.path.join(TRAINING, 'prompts', 'calibration_64.txt'),
                  encoding='utf-8') as f:
            text = f.read().rstrip('\n')
        self.assertEqual(hashlib.sha256(text.encode()).hexdigest(),
                         profile['prompts_sha256'])

    def test_evaluation_prompts_are_500_with_distinct_ids_and_seeds(self):
        with open(os.path.join(TRAINING, 'prompts', 'eval_500.jsonl'),
                  encoding='utf-8') as f:
            rows = [json.loads(line) for line in f]
        self.assertEqual(len(rows), 500)
        self.assertEqual(len({r['id'] for r in rows}), 500)
        self.assertEqual(len({r['seed'] for r in rows}), 500)
        with open(os.path.join(TRAINING, 'judge', 'classes.json')) as f:
            classes = set(json.load(f))
        for r in rows:
            for key in ('thing', 'left', 'right'):
                self.assertIn(r.get(key, r.get('thing', 'cat')), classes)

    def test_notice_names_every_source(self):
        with open(os.path.join(MODEL, 'NOTICE'), encoding='utf-8') as f:
            text = f.read()
        for word in ('Noto Emoji', 'Fluent Emoji', 'Twemoji', 'EmojiTwo',
                     'Emojibase', 'MIT License', 'Apache License',
                     'CC-BY 4.0'):
            self.assertIn(word, text)


if __name__ == '__main__':
    unittest.main()
